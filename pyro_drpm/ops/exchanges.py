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

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["exchange_gradient"]

_TINY = 1e-300
_MAX_LOG = 700.0


def exchange_gradient(
    grad: Tensor, subset: Tensor, ordered: Tensor, order: Tensor, log_s: Tensor
) -> Tensor:
    """The formula for a drawn ordering.

    The elements of a subset have the same neighbors, so that what depends on these is computed
    once for each subset; what it is for an empty one does not matter.

    Args:
        grad: Gradient of the partition matrix, shape ``(*batch, K, n)``.
        subset: The subset of each rank, which does not fall from one rank to the next, shape
            ``(*batch, n)``.
        ordered: Perturbed scores in descending order, shape ``(*batch, n)``, float64.
        order: The element of each rank, shape ``(*batch, n)``.
        log_s: Log-scores of these elements, shape ``(*batch, n)``, float64.

    Returns:
        Gradients of the log-scores in the order of ranks, shape ``(*batch, n)``.
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
