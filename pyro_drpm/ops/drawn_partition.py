# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

r"""A drawn partition with the gradients of the law that it was drawn from.

With the boundaries :math:`c_k = n_1 + \dots + n_k` and the element :math:`\pi_i` of rank :math:`i`,
:math:`y_{k \pi_i} = 1(c_k \ge i) - 1(c_{k-1} \ge i)`. The gradients of the sizes
(:mod:`pyro_drpm.ops.boundary_moves`) go through the indicators at the two ranks on either side of a
boundary and through no others, those of the scores (:mod:`pyro_drpm.ops.exchanges`) through the
neighbors of each element. So nothing but the partition itself and its gradient has ``K n`` entries.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pyro_drpm.ops.boundary_moves import boundary_moves
from pyro_drpm.ops.exchanges import exchange_gradient
from pyro_drpm.ops.labels import unsort
from pyro_drpm.ops.overrides import overridable
from pyro_drpm.ops.size_law import SizeLaw

__all__ = ["drawn_partition", "partition_by_draw"]


def drawn_partition(law: SizeLaw, counts: Tensor, scores: Tensor, log_s: Tensor) -> Tensor:
    """A partition with gradients for the tables of its sizes and for its scores.

    Args:
        law: Tables of the size distribution.
        counts: Integers drawn from it, shape ``(*batch, K)`` or broadcastable with it.
        scores: ``log_s`` plus Gumbel noise, shape ``(*batch, n)``, float64; the first subset takes
            the highest. Not differentiated.
        log_s: Log-scores, shape ``(*batch, n)``; their dtype is that of the result.

    Returns:
        Entries 0 and 1, shape ``(*batch, K, n)``.
    """
    return partition_by_draw(log_s, boundary_moves(law, counts), counts, scores)


@overridable
def partition_by_draw(log_s: Tensor, moves: Tensor, counts: Tensor, scores: Tensor) -> Tensor:
    """The same with gradients for the moves of the boundaries.

    Args:
        log_s: Shape ``(*batch, n)``.
        moves: Those of :func:`~pyro_drpm.ops.boundary_moves.boundary_moves`, upwards and downwards,
            of the shape ``(2, *batch, K - 1)`` that belongs to ``counts``.
        counts: Integers that add up to ``n``, shape ``(*batch, K)`` or broadcastable with it.
        scores: ``log_s`` plus standard Gumbel noise, shape ``(*batch, n)``, float64; not
            differentiated.

    Returns:
        Entries 0 and 1, shape ``(*batch, K, n)``. Once differentiable.
    """
    result: Tensor = _PartitionByDraw.apply(log_s, moves, counts, scores)
    return result


class _PartitionByDraw(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, log_s: Tensor, moves: Tensor, counts: Tensor, scores: Tensor) -> Tensor:
        ordered, order = scores.sort(dim=-1, descending=True, stable=True)
        subset = _subset_of_each_rank(counts, order.shape[-1]).expand(order.shape)
        ctx.save_for_backward(log_s, moves, counts, subset, ordered, order)
        k = torch.arange(counts.shape[-1], device=counts.device).unsqueeze(-1)
        return (unsort(subset, order).unsqueeze(-2) == k).to(log_s.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        log_s, moves, counts, subset, ordered, order = ctx.saved_tensors
        grad_s = grad_moves = None
        if ctx.needs_input_grad[0]:
            ranked = log_s.double().gather(-1, order)
            grad_ranked = exchange_gradient(grads[0], subset.contiguous(), ordered, order, ranked)
            grad_s = unsort(grad_ranked, order).to(log_s.dtype)
        if ctx.needs_input_grad[1]:
            both = _boundary_gradient(grads[0], counts, order).to(moves.dtype)
            grad_moves = torch.stack([grad.sum_to_size(moves.shape[1:]) for grad in both])
        return grad_s, grad_moves, None, None


def _subset_of_each_rank(counts: Tensor, n: int) -> Tensor:
    """The first subset as many times as it has elements, and so on, shape ``(*batch, n)``."""
    num_subsets, rows = counts.shape[-1], counts.shape[:-1].numel()
    k = torch.arange(num_subsets, device=counts.device).repeat(rows)
    return k.repeat_interleave(counts.flatten(), output_size=rows * n).view(*counts.shape[:-1], n)


def _boundary_gradient(grad: Tensor, counts: Tensor, order: Tensor) -> Tensor:
    """What a boundary's move by one, up or down, changes: one element's subset.

    Args:
        grad: Gradient of the partition matrix, shape ``(*batch, K, n)``.
        counts: Shape ``(*batch, K)`` or broadcastable with it.
        order: The element of each rank, shape ``(*batch, n)``.

    Returns:
        Shape ``(2, *batch, K - 1)``.
    """
    n = order.shape[-1]
    boundaries = counts[..., :-1].cumsum(-1).expand(*order.shape[:-1], -1)
    # Counted from 0, the first rank behind a boundary and the last before it.
    rank = torch.stack([boundaries, boundaries - 1])
    inside = rank.clamp(0, n - 1)
    element = order.expand(2, *order.shape).gather(-1, inside)
    place = torch.arange(boundaries.shape[-1], device=order.device) * n + element
    flat = grad.flatten(-2).expand(2, *grad.shape[:-2], -1)
    return (flat.gather(-1, place) - flat.gather(-1, place + n)) * (rank == inside)
