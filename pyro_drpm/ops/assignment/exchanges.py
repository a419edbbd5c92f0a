# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

r"""Gradients for the scores of a drawn ordering: exchanges of elements across boundaries.

Element :math:`i` has the log-score :math:`a_i` and the perturbed score :math:`z_i`, which is
:math:`a_i` plus Gumbel noise. It changes its subset only where :math:`z_i` passes a boundary:
upwards past :math:`z_+`, the lowest score of the preceding subset that is not empty, or downwards
past :math:`z_-`, the highest of the following one. Then it changes places with the element that has
this score, and :math:`Y` becomes :math:`Y_+` or :math:`Y_-`. Let :math:`F` be the standard Gumbel
distribution function and :math:`\varphi` its density. Given all other perturbed scores, :math:`z_i`
stays between both boundaries with probability :math:`F(z_+ - a_i) - F(z_- - a_i)`. When
:math:`a_i` grows, probability flows across the boundaries at the rates
:math:`\varphi(z_\pm - a_i)`.

A backward pass through a draw knows :math:`\nabla f(Y)` and not :math:`f`. It counts half of each
flow at :math:`Y`, and leaves the other half to draws on the other side of the boundary:

.. math::
    \frac{\partial}{\partial a_i} E f(Y) = E \,
    \frac{\varphi(z_- - a_i) \, \nabla f(Y) \cdot (Y - Y_-)
          + \varphi(z_+ - a_i) \, \nabla f(Y) \cdot (Y_+ - Y)}
         {2 \, [F(z_+ - a_i) - F(z_- - a_i)]} .

The difference of a quadratic function is the mean of its gradients at both ends times the step, so
that this holds exactly for quadratic :math:`f`. No temperature enters, and the work after sorting
is linear. Where a subset has one element, both boundaries may be as near to each other as one
likes: the weight is the inverse of their distance, which has no variance. So weights are bounded
by 100. That leaves out gaps below about 1/200, and a share of the gradient of that order.

Where the differences :math:`f(Y_\pm) - f(Y)` are known, the gradient is exact for any function, and
a flow may be divided between its two sides in any proportion. In that of their probabilities it is

.. math::
    \frac{\partial}{\partial a_i} E f(Y) = E \Big[
    \varphi(z_- - a_i) \, \frac{f(Y) - f(Y_-)}{F(z_+ - a_i) - F(z_{--} - a_i)}
    + \varphi(z_+ - a_i) \, \frac{f(Y_+) - f(Y)}{F(z_{++} - a_i) - F(z_- - a_i)} \Big] ,

with :math:`z_{++}` and :math:`z_{--}` the next boundaries beyond :math:`Y_\pm`. Two adjacent
intervals are rarely both short, so that the variance is finite without a bound.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pyro_drpm.ops.assignment.ranks import Ranks

__all__ = ["exchange_flow", "exchange_gradient"]

_TINY = 1e-300
_MAX_LOG = 690.0
_GREATEST_WEIGHT = 100.0


def exchange_gradient(grad: Tensor, ranks: Ranks, log_s: Tensor) -> Tensor:
    """The first formula for a drawn ordering.

    The elements of a subset have the same neighbors, so that what depends on these is computed
    once for each subset; what it is for an empty one does not matter.

    Args:
        grad: Gradient of the partition matrix, shape ``(*batch, K, n)``.
        ranks: The drawn partition.
        log_s: Log-scores of the elements in the order of ranks, shape ``(*batch, n)``, float64.

    Returns:
        Gradients of the log-scores in the order of ranks, shape ``(*batch, n)``.
    """
    n = grad.shape[-1]
    grad = grad.flatten(-2)
    own = grad.gather(-1, ranks.subset * n + ranks.element)
    k = torch.arange(ranks.counts.shape[-1], device=grad.device)
    upper = _Neighbor.at(ranks.start - 1, ranks, torch.inf)
    lower = _Neighbor.at(ranks.end, ranks, -torch.inf)

    # With w = exp(a - z): F(z - a) = exp(-w) and phi(z - a) = w exp(-w).
    above, below = (_rate(log_s, neighbor.score, ranks) for neighbor in (upper, lower))
    share = -torch.expm1(lower.score - upper.score)  # of below, what it exceeds above by
    width = (below * ranks.of_own(share)).clamp(min=_TINY)
    flow_down = (below / torch.expm1(width) / 2).clamp(max=_GREATEST_WEIGHT)
    flow_up = (above / -torch.expm1(-width) / 2).clamp(max=_GREATEST_WEIGHT)

    def change(neighbor: _Neighbor) -> Tensor:
        """``grad . (Y - Y')``, ``Y'`` the partition after the exchange with the neighbor."""
        of_neighbor = own.gather(-1, neighbor.rank) - grad.gather(-1, k * n + neighbor.element)
        theirs = ranks.of_own(neighbor.subset)
        of_element = own - grad.gather(-1, theirs * n + ranks.element)
        return of_element + ranks.of_own(of_neighbor)

    return flow_down * change(lower) - flow_up * change(upper)


def exchange_flow(up: Tensor, down: Tensor, ranks: Ranks, log_s: Tensor) -> Tensor:
    """The second formula, for the true differences of a function.

    Args:
        up: ``f(Y_+) - f(Y)`` for the element of each rank, shape ``(*batch, n)``.
        down: ``f(Y_-) - f(Y)``, likewise.
        ranks: The drawn partition.
        log_s: As for :func:`exchange_gradient`.

    Returns:
        Gradients of the log-scores in the order of ranks, shape ``(*batch, n)``.
    """
    upper = _Neighbor.at(ranks.start - 1, ranks, torch.inf)
    lower = _Neighbor.at(ranks.end, ranks, -torch.inf)
    beyond_upper, beyond_lower = _beyond(upper, torch.inf), _beyond(lower, -torch.inf)
    flow_up = _shared_flow(log_s, beyond_upper, upper.score, lower.score, ranks)
    flow_down = _shared_flow(log_s, upper.score, lower.score, beyond_lower, ranks)
    return flow_up * up - flow_down * down


def _rate(log_s: Tensor, score: Tensor, ranks: Ranks) -> Tensor:
    """``exp(a - z)`` for the score ``z`` of a boundary of each element's subset."""
    return (log_s - ranks.of_own(score)).clamp(max=_MAX_LOG).exp()


def _shared_flow(log_s: Tensor, above: Tensor, here: Tensor, below: Tensor, ranks: Ranks) -> Tensor:
    """``phi(here - a) / [F(above - a) - F(below - a)]`` for three boundaries of each subset.

    With ``w = exp(a - here)`` it is ``w / [exp(w - w_above) - exp(w - w_below)]``.
    """
    rate = (log_s - ranks.of_own(here)).clamp(-_MAX_LOG, _MAX_LOG).exp()
    upwards = -torch.expm1(here - above)
    downwards = torch.expm1((here - below).clamp(max=_MAX_LOG))
    width = torch.expm1(rate * ranks.of_own(upwards)) - torch.expm1(-rate * ranks.of_own(downwards))
    return torch.where(ranks.of_own(here).isfinite(), rate / width.clamp(min=_TINY), 0.0)


class _Neighbor(NamedTuple):
    """The element that the elements of a subset would change places with, for each subset.

    Where there is none the score is infinite, which lets nothing flow, and all else is finite.
    """

    rank: Tensor
    score: Tensor
    element: Tensor
    subset: Tensor

    @staticmethod
    def at(rank: Tensor, ranks: Ranks, no_score: float) -> _Neighbor:
        inside = rank.clamp(0, ranks.subset.shape[-1] - 1)
        score = torch.where(rank == inside, ranks.score.gather(-1, inside), no_score)
        return _Neighbor(
            inside, score, ranks.element.gather(-1, inside), ranks.subset.gather(-1, inside)
        )


def _beyond(neighbor: _Neighbor, no_score: float) -> Tensor:
    """The score at the far boundary of a neighbor's subset, for each subset."""
    far_score = neighbor.score.gather(-1, neighbor.subset)
    return torch.where(neighbor.score.isfinite(), far_score, no_score)
