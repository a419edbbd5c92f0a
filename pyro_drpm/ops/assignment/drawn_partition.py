# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

r"""A drawn partition with the gradients of the law that it was drawn from.

With the boundaries :math:`c_k = n_1 + \dots + n_k` and the element :math:`\pi_i` of rank :math:`i`,
:math:`y_{k \pi_i} = 1(c_k \ge i) - 1(c_{k-1} \ge i)`. The gradients of the sizes
(:mod:`pyro_drpm.ops.sizes.boundary_moves`) go through the indicators at the two ranks on either
side of a boundary and through no others, those of the scores
(:mod:`pyro_drpm.ops.assignment.exchanges`) through the neighbors of each element. So nothing but
the partition itself and its gradient has ``K n`` entries.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_drpm.ops.assignment.exchanges import exchange_gradient
from pyro_drpm.ops.assignment.ranks import Ranks
from pyro_drpm.ops.labels import matrix_of, unsort
from pyro_drpm.ops.overrides import overridable

__all__ = ["by_element", "drawn_partition"]


def drawn_partition(log_s: Tensor, moves: Tensor, ranks: Ranks) -> Tensor:
    """A partition with gradients for its scores and for the moves of its boundaries.

    Args:
        log_s: Log-scores, shape ``(*batch, n)``; their dtype is that of the result.
        moves: Upward and downward moves of the boundaries, of the shape ``(2, *batch, K - 1)`` that
            belongs to the counts, see :mod:`pyro_drpm.ops.sizes.boundary_moves`.
        ranks: Counts that add up to ``n``, and elements ranked by ``log_s`` plus standard Gumbel
            noise; not differentiated.

    Returns:
        Entries 0 and 1, shape ``(*batch, K, n)``. Once differentiable.
    """
    return _partition_by_draw(log_s, moves, *ranks)


def by_element(moves: Tensor, ranks: Ranks) -> Tensor:
    """From the indicators that a rank is in the first ``k`` subsets to entries of the partition.

    Args:
        moves: Zeros with gradients for these indicators, shape ``(*batch, K - 1, n)``.
        ranks: The drawn partition.

    Returns:
        Zeros with gradients for each subset and element, shape ``(*batch, K, n)``.
    """
    by_rank = F.pad(moves, (0, 0, 0, 1)) - F.pad(moves, (0, 0, 1, 0))
    element = ranks.element.unsqueeze(-2)
    return by_rank.gather(-1, element.argsort(-1).expand_as(by_rank))


@overridable
def _partition_by_draw(log_s: Tensor, moves: Tensor, *of_ranks: Tensor) -> Tensor:
    result: Tensor = _PartitionByDraw.apply(log_s, moves, *of_ranks)
    return result


class _PartitionByDraw(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(log_s: Tensor, moves: Tensor, *of_ranks: Tensor) -> Tensor:
        ranks = Ranks(*of_ranks)
        subset = unsort(ranks.subset, ranks.element)
        return matrix_of(subset, ranks.counts.shape[-1], log_s.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        log_s, moves, *of_ranks = ctx.saved_tensors
        ranks = Ranks(*of_ranks)
        grad_s = grad_moves = None
        if ctx.needs_input_grad[0]:
            ranked = log_s.double().gather(-1, ranks.element)
            grad_ranked = exchange_gradient(grads[0], ranks, ranked)
            grad_s = unsort(grad_ranked, ranks.element).to(log_s.dtype)
        if ctx.needs_input_grad[1]:
            both = _boundary_gradient(grads[0], ranks).to(moves.dtype)
            grad_moves = torch.stack([grad.sum_to_size(moves.shape[1:]) for grad in both])
        return grad_s, grad_moves, None, None, None, None


def _boundary_gradient(grad: Tensor, ranks: Ranks) -> Tensor:
    """What a boundary's move by one, up or down, changes: one element's subset.

    Args:
        grad: Gradient of the partition matrix, shape ``(*batch, K, n)``.
        ranks: The drawn partition.

    Returns:
        Shape ``(2, *batch, K - 1)``.
    """
    n = grad.shape[-1]
    boundaries = ranks.end[..., :-1]
    # Counted from 0, the first rank behind a boundary and the last before it.
    rank = torch.stack([boundaries, boundaries - 1])
    inside = rank.clamp(0, n - 1)
    element = ranks.element.expand(2, *ranks.element.shape).gather(-1, inside)
    place = torch.arange(boundaries.shape[-1], device=grad.device) * n + element
    flat = grad.flatten(-2).expand(2, *grad.shape[:-2], -1)
    return (flat.gather(-1, place) - flat.gather(-1, place + n)) * (rank == inside)
