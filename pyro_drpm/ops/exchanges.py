# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

r"""Gradients for the scores of a drawn ordering: exchanges of elements across boundaries.

An element of log-score :math:`a_i` with Gumbel-perturbed score :math:`z_i` changes its subset only
where :math:`z_i` passes a boundary: upwards past :math:`z_+`, the lowest of the preceding non-empty
subset, or downwards past :math:`z_-`, the highest of the following one; it then changes places with
that element. Given all other perturbed scores, :math:`z_i` lies where it was drawn with probability
:math:`F(z_+ - a_i) - F(z_- - a_i)`, :math:`F` the standard Gumbel distribution function with
density :math:`\varphi`, and an infinitesimal change of :math:`a_i` lets probability flow across the
boundaries at the rates :math:`\varphi(z_\pm - a_i)`. Half of each flow is ascribed to either side:

.. math::
    \frac{\partial}{\partial a_i} E f(Y) = E \,
    \frac{\varphi(z_- - a_i) \, \nabla f(Y) \cdot (Y - Y_-)
          + \varphi(z_+ - a_i) \, \nabla f(Y) \cdot (Y_+ - Y)}
         {2 \, [F(z_+ - a_i) - F(z_- - a_i)]} ,

:math:`Y_\pm` the partitions after the exchanges. Differences of a quadratic function are its
gradient at the middle times the step, so that this holds exactly for quadratic :math:`f`; it is the
counterpart of :mod:`pyro_drpm.ops.boundary_moves` for the ordering. No temperature enters, and the
work after sorting is linear.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyro_drpm.ops.labels import subset_of_each, unsort
from pyro_drpm.ops.overrides import overridable

__all__ = ["permute_by_draw"]

_TINY = 1e-300
_MAX_LOG = 700.0


@overridable
def permute_by_draw(alpha: Tensor, scores: Tensor, log_s: Tensor) -> Tensor:
    """``alpha @ P`` with the sorting permutation ``P`` of drawn scores, straight-through.

    The gradient with respect to ``alpha`` is that of the gather, the gradient with respect to the
    log-scores that of the module's formula. Once differentiable.

    Args:
        alpha: One-hot columns, shape ``(*batch, K, n)`` or broadcastable with it: the subset of
            each rank, which does not fall from one rank to the next.
        scores: ``log_s`` plus standard Gumbel noise, shape ``(*batch, n)``, float64; not
            differentiated.
        log_s: Shape ``(*batch, n)``.

    Returns:
        Shape ``(*batch, K, n)``: the subset of each element.
    """
    subset = subset_of_each(alpha).expand(scores.shape).contiguous()
    alpha = alpha.expand(*scores.shape[:-1], -1, -1)
    result: Tensor = _PermuteByDraw.apply(alpha, subset, scores, log_s)
    return result


class _PermuteByDraw(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, alpha: Tensor, subset: Tensor, scores: Tensor, log_s: Tensor) -> Tensor:
        ordered, order = scores.sort(dim=-1, descending=True, stable=True)
        ctx.save_for_backward(subset, ordered, order, log_s)
        return unsort(alpha, order)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, None, Tensor | None]:
        subset, ordered, order, log_s = ctx.saved_tensors
        grad_alpha = grad_s = None
        if ctx.needs_input_grad[0]:
            grad_alpha = grads[0].gather(-1, order.unsqueeze(-2).expand_as(grads[0]))
        if ctx.needs_input_grad[3]:
            ranked = log_s.double().gather(-1, order)
            grad_ranked = _exchange_gradient(grads[0], subset, ordered, order, ranked)
            grad_s = unsort(grad_ranked, order).to(log_s.dtype)
        return grad_alpha, None, None, grad_s


def _exchange_gradient(
    grad: Tensor, subset: Tensor, ordered: Tensor, order: Tensor, log_s: Tensor
) -> Tensor:
    """The formula in the order of ranks, and all but ``grad``, which is in that of elements.

    The elements of a subset have the same neighbors, so that what depends on these is computed
    once for each subset; what it is for an empty one does not matter.
    """
    num_subsets, n = grad.shape[-2:]
    grad = grad.flatten(-2)
    own = grad.gather(-1, subset * n + order)
    k = torch.arange(num_subsets, device=subset.device).expand(*subset.shape[:-1], -1).contiguous()
    upper = _Neighbor.at(torch.searchsorted(subset, k) - 1, subset, ordered, order, torch.inf)
    lower = _Neighbor.at(
        torch.searchsorted(subset, k, right=True), subset, ordered, order, -torch.inf
    )

    # With w = exp(a - z): F(z - a) = exp(-w) and phi(z - a) = w exp(-w).
    above, below = (
        (log_s - neighbor.score.gather(-1, subset)).clamp(max=_MAX_LOG).exp()
        for neighbor in (upper, lower)
    )
    share = -torch.expm1(lower.score - upper.score)  # of below, what it exceeds above by
    width = (below * share.gather(-1, subset)).clamp(min=_TINY)
    flow_down = below / torch.expm1(width)
    flow_up = above / -torch.expm1(-width)

    def change(neighbor: _Neighbor) -> Tensor:
        """``grad . (Y - Y')``, ``Y'`` the partition after the exchange with the neighbor."""
        of_neighbor = own.gather(-1, neighbor.rank) - grad.gather(-1, k * n + neighbor.element)
        theirs = neighbor.subset.gather(-1, subset)
        return own - grad.gather(-1, theirs * n + order) + of_neighbor.gather(-1, subset)

    return (flow_down * change(lower) - flow_up * change(upper)) / 2


class _Neighbor(NamedTuple):
    """The element that the elements of a subset would change places with, for each subset.

    Where there is none the score is infinite, which lets nothing flow, and all else is finite.
    """

    rank: Tensor
    score: Tensor
    element: Tensor
    subset: Tensor

    @staticmethod
    def at(
        rank: Tensor, subset: Tensor, ordered: Tensor, order: Tensor, no_score: float
    ) -> _Neighbor:
        inside = rank.clamp(0, subset.shape[-1] - 1)
        score = torch.where(rank == inside, ordered.gather(-1, inside), no_score)
        return _Neighbor(inside, score, order.gather(-1, inside), subset.gather(-1, inside))
