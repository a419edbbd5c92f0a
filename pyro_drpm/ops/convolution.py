# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Direct convolution of non-negative sequences, accurate term by term."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_drpm.ops.overrides import overridable

__all__ = ["convolve"]

# From so many results on, a CPU is faster with a pass over them for each entry of the kernel than
# with sums over windows; a GPU would have to launch each pass. Matrix products of overlapping
# windows are slower still.
_MANY_RESULTS = 1 << 13
# Products of windows and kernel that are held at a time.
_CHUNK = 1 << 23


@overridable
def convolve(a: Tensor, b: Tensor) -> Tensor:
    """Full convolution along the last dimension.

    Sums products directly instead of going through a Fourier transform, so that terms far
    below the largest one keep their relative accuracy when ``a`` and ``b`` are non-negative.

    Args:
        a: Shape ``(*batch, p)``.
        b: Shape ``(*batch, q)``, batch shapes broadcast.

    Returns:
        Shape ``(*batch, p + q - 1)``, ``out[j] = sum_i a[i] b[j - i]``.

    Example:
        >>> convolve(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 1.0, 1.0]))
        tensor([1., 3., 3., 2.])
    """
    batch_shape = torch.broadcast_shapes(a.shape[:-1], b.shape[:-1])
    result: Tensor = _Convolution.apply(a.expand(*batch_shape, -1), b.expand(*batch_shape, -1))
    return result


def _slide(x: Tensor, kernel: Tensor) -> Tensor:
    """``out[i] = sum_j x[i + j] kernel[j]`` wherever the kernel lies inside ``x``."""
    rows = x.shape[-1] - kernel.shape[-1] + 1
    if x.device.type == "cpu" and x[..., 0].numel() * rows >= _MANY_RESULTS:
        result = x.new_zeros(*x.shape[:-1], rows)
        for place, weight in enumerate(kernel.split(1, -1)):
            result.addcmul_(x[..., place : place + rows], weight)
        return result
    windows = x.unfold(-1, kernel.shape[-1], 1)  # (*batch, rows, len(kernel)), a view
    step = max(1, _CHUNK // max(1, kernel.numel()))
    parts = [(part * kernel.unsqueeze(-2)).sum(-1) for part in windows.split(step, -2)]
    return torch.cat(parts, -1)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        overlap = a.shape[-1] - 1
        return _slide(F.pad(b, (overlap, overlap)), a.flip(-1))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        a, b = ctx.saved_tensors
        return _Correlation.apply(grads[0], b), _Correlation.apply(grads[0], a)


class _Correlation(torch.autograd.Function):
    """The adjoint of a convolution; with it every derivative stays in the pair."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Tensor) -> Tensor:
        ctx.save_for_backward(x, kernel)
        return _slide(x, kernel)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        x, kernel = ctx.saved_tensors
        return _Convolution.apply(grads[0], kernel), _Correlation.apply(x, grads[0])
