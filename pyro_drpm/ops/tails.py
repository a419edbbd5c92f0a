# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

r"""Logarithms of sums from a place on.

With :math:`T_p = \log \sum_{j \ge p} e^{x_j}` and the gradient :math:`g_p` of :math:`T_p`

.. math::
    \frac{\partial}{\partial x_j} = \sum_{p \le j} g_p e^{x_j - T_p} = e^{x_j - T_j} c_j, \qquad
    c_j = \sum_{p \le j} g_p e^{T_j - T_p},

where no exponent is positive. The sums :math:`c_j` are doubled in length, ``log n`` times. That of
:func:`torch.logcumsumexp` takes logarithms of the gradients, so that it has no derivative where one
of them is zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_drpm.ops.overrides import overridable
from pyro_drpm.ops.transforms import transformed

__all__ = ["log_tails"]


@overridable
def log_tails(x: Tensor, segment: Tensor | None = None) -> Tensor:
    """``T_p``, any number of times differentiable.

    Args:
        x: Finite, shape ``(*batch, n)``. Only the last may be so low as to be lost beside others.
        segment: The number of the part to which each place belongs, shape ``(n,)``, in rising
            order, if sums are to end where a part does.

    Returns:
        Of the same shape and dtype. Memory is linear, work ``O(n log n)``.
    """
    if transformed():
        return _doubled(x, segment)
    result: Tensor = _LogTails.apply(x, segment)
    return result


class _LogTails(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, segment: Tensor | None) -> Tensor:
        tail = x.flip(-1).logcumsumexp(-1).flip(-1) if segment is None else _doubled(x, segment)
        ctx.save_for_backward(x, segment, tail)
        return tail

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, segment, tail = ctx.saved_tensors
        total = grads[0]
        for step, same in _steps(x.shape[-1], segment):
            decayed = total[..., :-step] * (tail[..., step:] - tail[..., :-step]).exp()
            total = total + F.pad(decayed if same is None else decayed * same, (step, 0))
        return (x - tail).exp() * total, None


def _doubled(x: Tensor, segment: Tensor | None) -> Tensor:
    """The sums of the next place, of the next two, four and so on.

    The derivatives of ``logaddexp`` are no numbers where one term is negligible.
    """
    for step, same in _steps(x.shape[-1], segment):
        longer = x[..., :-step] + F.softplus(x[..., step:] - x[..., :-step], threshold=40.0)
        longer = longer if same is None else torch.where(same, longer, x[..., :-step])
        x = torch.cat([longer, x[..., -step:]], -1)
    return x


def _steps(n: int, segment: Tensor | None) -> Iterator[tuple[int, Tensor | None]]:
    """Distances of places, and whether places at this distance are of one segment."""
    step = 1
    while step < n:
        yield step, None if segment is None else segment[step:] == segment[:-step]
        step *= 2
