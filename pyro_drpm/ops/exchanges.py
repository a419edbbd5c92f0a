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
counterpart of :mod:`pyro_drpm.ops.sizes` for the ordering. No temperature enters, and the work
after sorting is linear.
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
        alpha: One-hot columns, shape ``(*batch, K, n)``: the subset of each rank.
        scores: ``log_s`` plus standard Gumbel noise, shape ``(*batch, n)``, float64; not
            differentiated.
        log_s: Shape ``(*batch, n)``.

    Returns:
        Shape ``(*batch, K, n)``: the subset of each element.
    """
    result: Tensor = _PermuteByDraw.apply(alpha, scores, log_s)
    return result


class _PermuteByDraw(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, alpha: Tensor, scores: Tensor, log_s: Tensor) -> Tensor:
        ordered, order = scores.sort(dim=-1, descending=True, stable=True)
        ctx.save_for_backward(subset_of_each(alpha), ordered, order, log_s)
        return unsort(alpha, order)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, Tensor | None]:
        subset, ordered, order, log_s = ctx.saved_tensors
        grad = grads[0].gather(-1, order.unsqueeze(-2).expand_as(grads[0]))
        grad_s = None
        if ctx.needs_input_grad[2]:
            ranked = log_s.double().gather(-1, order)
            grad_ranked = _exchange_gradient(grad, subset, ordered, ranked)
            grad_s = unsort(grad_ranked, order).to(log_s.dtype)
        return grad, None, grad_s


def _exchange_gradient(grad: Tensor, subset: Tensor, ordered: Tensor, log_s: Tensor) -> Tensor:
    """The formula, everything in the order of the scores."""
    n = subset.shape[-1]
    rank = torch.arange(n, device=subset.device)
    boundary = subset[..., 1:] != subset[..., :-1]  # between ranks i and i + 1
    none = boundary.new_ones(*boundary.shape[:-1], 1)
    first = torch.where(torch.cat([none, boundary], -1), rank, 0).cummax(-1).values
    last = torch.where(torch.cat([boundary, none], -1), rank, n - 1)
    last = last.flip(-1).cummin(-1).values.flip(-1)

    upper, lower = _Neighbor.at(first - 1, ordered), _Neighbor.at(last + 1, ordered)
    # With w = exp(a - z): F(z - a) = exp(-w) and phi(z - a) = w exp(-w).
    above = (log_s - upper.score).clamp(max=_MAX_LOG).exp().where(upper.exists, 0.0)
    below = (log_s - lower.score).clamp(max=_MAX_LOG).exp()
    width = below * -torch.expm1(lower.score - upper.score)
    width = torch.where(upper.exists, width, below).clamp(min=_TINY)
    flow_down = torch.where(lower.exists, below / torch.expm1(width), 0.0)
    flow_up = above / torch.where(lower.exists, -torch.expm1(-width), 1.0).clamp(min=_TINY)
    return (flow_down * _change(grad, subset, lower) - flow_up * _change(grad, subset, upper)) / 2


class _Neighbor(NamedTuple):
    """The element that each element would change places with; ``score`` is finite regardless."""

    rank: Tensor
    exists: Tensor
    score: Tensor

    @staticmethod
    def at(rank: Tensor, ordered: Tensor) -> _Neighbor:
        n = ordered.shape[-1]
        inside = rank.clamp(0, n - 1)
        return _Neighbor(inside, rank == inside, ordered.gather(-1, inside))


def _change(grad: Tensor, subset: Tensor, neighbor: _Neighbor) -> Tensor:
    """``grad . (Y - Y')``, ``Y'`` the partition after the exchange with the neighbor."""
    theirs = subset.gather(-1, neighbor.rank)
    own_row = grad.gather(-2, subset.unsqueeze(-2)).squeeze(-2)
    their_row = grad.gather(-2, theirs.unsqueeze(-2)).squeeze(-2)
    n = subset.shape[-1]
    flat = grad.flatten(-2)
    neighbor_theirs = flat.gather(-1, theirs * n + neighbor.rank)
    neighbor_own = flat.gather(-1, subset * n + neighbor.rank)
    return own_row - their_row + neighbor_theirs - neighbor_own
