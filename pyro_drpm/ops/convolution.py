# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Convolutions and correlations: directly, accurate term by term, or fast."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_drpm.ops import host
from pyro_drpm.ops.chunks import at_once
from pyro_drpm.ops.overrides import overridable
from pyro_drpm.ops.precision import full_precision

__all__ = ["conjugate_spectrum", "convolve", "convolve_values", "correlate", "fast_correlate"]

# Up to this length of the shorter sequence, products are summed one by one.
_SHORT = 384
# Products that are held at a time then: more would leave the cache, and with far fewer the calls
# would take longer than the sums.
_CHUNK = 1 << 19


@overridable
def convolve(a: Tensor, b: Tensor, first: int, width: int) -> Tensor:
    """Part of a convolution along the last dimension.

    Sums products directly instead of going through a Fourier transform, so that terms far
    below the largest one keep their relative accuracy when ``a`` and ``b`` are non-negative.

    Args:
        a: Shape ``(*batch, p)``.
        b: Shape ``(*batch, q)``, batch shapes broadcast.
        first: Index of the first entry that is wanted; negative for zeros before the convolution.
        width: Number of entries that are wanted, zeros behind the convolution; at least one must
            be of the convolution.

    Returns:
        Shape ``(*batch, width)``, ``out[j] = sum_i a[i] b[first + j - i]``.

    Example:
        >>> convolve(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 1.0, 1.0]), 0, 4)
        tensor([1., 3., 3., 2.])
    """
    batch_shape = torch.broadcast_shapes(a.shape[:-1], b.shape[:-1])
    a, b = a.expand(*batch_shape, -1), b.expand(*batch_shape, -1)
    result: Tensor = _Convolution.apply(a, b, first, width)
    return result


@full_precision
def convolve_values(a: Tensor, b: Tensor, first: int, width: int) -> Tensor:
    """What :func:`convolve` gives for operands of one batch shape, without gradients."""
    if min(a.shape[-1], b.shape[-1]) > _SHORT and host.is_at_hand(a) and host.is_at_hand(b):
        return _of_trimmed(a, b, first, width)
    return _convolved(a, b, first, width)


def correlate(a: Tensor, b: Tensor, first: int, width: int) -> Tensor:
    """Part of a correlation along the last dimension, the adjoint of :func:`convolve`.

    Args:
        a: Shape ``(*batch, p)``.
        b: Shape ``(*batch, q)``, batch shapes broadcast.
        first: As for the convolution.
        width: Number of entries that are wanted.

    Returns:
        Shape ``(*batch, width)``, ``out[i] = sum_j a[j] b[first + j - i]``.

    Example:
        >>> correlate(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 1.0]), 0, 3)
        tensor([3., 5., 3.])
    """
    return convolve(a, b.flip(-1), b.shape[-1] - 1 - first, width)


def conjugate_spectrum(b: Tensor, width: int) -> Tensor:
    """Fourier transform of sequences, long enough to correlate others of a width with them.

    Args:
        b: Shape ``(*batch, q)``.
        width: Length of the other sequences.

    Returns:
        Complex, one more than half the length of the transform.
    """
    return torch.fft.rfft(b, n=_smooth(width + b.shape[-1] - 1)).conj()


def fast_correlate(a: Tensor, spectrum: Tensor, first: int) -> Tensor:
    """What :func:`correlate` gives, by a Fourier transform: terms far below the largest are noise.

    Args:
        a: Shape ``(*batch, p)``.
        spectrum: The :func:`conjugate_spectrum` of ``b`` for sequences of length ``p``; batch
            shapes broadcast.
        first: As for the convolution, from 0 to ``q - 1``.

    Returns:
        Shape ``(*batch, p)``.

    Example:
        >>> a, b = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 1.0])
        >>> fast_correlate(a, conjugate_spectrum(b, 3), 0).round(decimals=4)
        tensor([3., 5., 3.])
    """
    length = 2 * (spectrum.shape[-1] - 1)
    product = torch.fft.rfft(a, n=length) * spectrum
    return torch.fft.irfft(product, n=length).roll(first, -1)[..., : a.shape[-1]]


def _smooth(least: int) -> int:
    """The smallest even ``2^i 3^j``, a fast length for transforms, that is not below a number."""
    powers = [3**j for j in range(math.ceil(math.log(least, 3)) + 1)]
    return min(p << max(1, math.ceil(math.log2(least / p))) for p in powers)


class _Convolution(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(a: Tensor, b: Tensor, first: int, width: int) -> Tensor:
        return convolve_values(a, b, first, width)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        a, b, ctx.first, _ = inputs
        ctx.save_for_backward(a, b)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        a, b = ctx.saved_tensors
        return (
            correlate(grads[0], b, ctx.first, a.shape[-1]) if ctx.needs_input_grad[0] else None,
            correlate(grads[0], a, ctx.first, b.shape[-1]) if ctx.needs_input_grad[1] else None,
            None,
            None,
        )


def _of_trimmed(a: Tensor, b: Tensor, first: int, width: int) -> Tensor:
    """The same without the zeros at the ends of the operands, and at those of the result."""
    of_a, of_b = _support(a), _support(b)
    first -= of_a.start + of_b.start
    length = max(0, of_a.stop - of_a.start + of_b.stop - of_b.start - 1)
    start, stop = max(0, -first), min(width, length - first)
    if start >= stop:
        return a.new_zeros(*a.shape[:-1], width)
    result = _convolved(a[..., of_a], b[..., of_b], first + start, stop - start)
    return F.pad(result, (start, width - stop))


def _support(x: Tensor) -> slice:
    """The places between the first and the last that is not zero in all of a batch."""
    places = x.flatten(0, -2).any(0).nonzero() if x.dim() > 1 else x.nonzero()
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0)


def _convolved(a: Tensor, b: Tensor, first: int, width: int) -> Tensor:
    kernel, x = (a, b) if a.shape[-1] < b.shape[-1] else (b, a)
    in_this_way = _by_products if kernel.shape[-1] <= _SHORT else _by_blocks
    return in_this_way(kernel, x, first, width)


def _by_products(kernel: Tensor, x: Tensor, first: int, width: int) -> Tensor:
    length, size = kernel.shape[-1], x.shape[-1]
    before = length - 1 - first
    padded = F.pad(x, (before, first + width - size))  # what is negative is cut off
    windows = padded.unfold(-1, length, 1)  # (*batch, width, length), a view
    kernel = kernel.flip(-1).unsqueeze(-2)
    step = min(width, max(1, at_once(_CHUNK, kernel) // max(1, kernel.numel())))
    sums = []
    for start in range(0, width, step):
        stop = min(start + step, width)
        # The rest of the windows is padding.
        inside = slice(max(0, before - stop + 1), max(0, min(length, before + size - start)))
        sums.append((windows[..., start:stop, inside] * kernel[..., inside]).sum(-1))
    return torch.cat(sums, -1)


def _by_blocks(kernel: Tensor, x: Tensor, first: int, width: int) -> Tensor:
    r"""Cuts both sequences into blocks of ``c``, so that matrix products do the work.

    With ``k_I`` the ``P`` blocks of the kernel, back to front, and ``w_M`` the windows on the other
    sequence that begin at multiples of ``c``,

    .. math::
        out[J c + r] = \sum_I G_{J + I, r, I}, \qquad G_{M, r, I} = \sum_s w_M[r + s] \, k_I[s];

    the terms of the outer sum lie at equal distances in memory.
    """
    length, size = kernel.shape[-1], x.shape[-1]
    c = 1 << round(math.log2(length) / 2)
    num_blocks, num_rows = -(-length // c), -(-width // c)
    kernel = F.pad(kernel, (0, num_blocks * c - length)).flip(-1).unflatten(-1, (num_blocks, c))
    padded = F.pad(x, (num_blocks * c - 1 - first, first + num_rows * c - size))
    windows = padded.unfold(-1, 2 * c - 1, c).unfold(-1, c, 1)  # (*batch, rows + P - 1, c, c)
    products = (windows.flatten(-3, -2) @ kernel.mT).unflatten(-2, (-1, c))
    lines = products.unfold(-3, num_blocks, 1).diagonal(dim1=-2, dim2=-1)
    return lines.sum(-1).flatten(-2)[..., :width]
