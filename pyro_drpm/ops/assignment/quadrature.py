# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

r"""Nodes of the integrals in :mod:`pyro_drpm.ops.assignment.probability`.

With :math:`t = e^v` the logarithm of the integrand is strictly concave in :math:`v` and falls
exponentially on the left and doubly exponentially on the right, so that the trapezoid rule between
two points where it has fallen far enough converges exponentially (Trefethen and Weideman: The
Exponentially Convergent Trapezoidal Rule, SIAM Review 2014). It is applied after the substitution
:math:`v = a - b e^{-\kappa t}`, which makes the long tail on the left as short as the right one and
spares half of the nodes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pyro_drpm.ops.assignment.clocks import Clocks, log_rung_slope
from pyro_drpm.ops.assignment.members import Members

__all__ = ["Quadrature", "edges", "log_peak_of", "nodes_of"]


class Quadrature(NamedTuple):
    """How finely to integrate.

    Attributes:
        nodes: Their number.
        drop: Nats between the largest value of the integrand and the first and last node.
    """

    nodes: int
    drop: float


# Iterations towards the edges, the mode and a corner. None has to be exact: the rule is accurate
# for any interval that holds enough of the integrand. Where there are two numbers, the second is
# for more than _MANY elements, whose integrand is steeper.
_EDGE_STEPS = 2
_MANY = 500
_PEAK_STEPS = 4, 6
_CORNER_STEPS = 1, 3
# Nodes at the left end are farther apart than at the right end, by the ratio of the two edges'
# distances from the mode to the power _STRETCH. At a corner they are closer: there the ratio is
# that of the lengths over which the integrand falls at both ends. The corner counts the less, the
# more of the share _CORNER_SHARE of the drop has happened before it. Both numbers were chosen on
# the settings that docs/mathematics.md lists.
_STRETCH = 0.9
_CORNER_SHARE = 0.7
_LEAST_STRETCH = 1e-3
_SHORTEST = 1e-6
_TINY = 1e-300


def nodes_of(members: Members, log_rest: Tensor, quadrature: Quadrature) -> tuple[Tensor, Tensor]:
    """Nodes and the logarithms of their distances, ``(*batch, K - 1, nodes)`` each."""
    log_peak = log_peak_of(members, log_rest)
    mode = log_peak - log_rest
    found = edges(members, log_peak, mode, quadrature.drop)
    left, right, log_ratio = (x.unsqueeze(-1) for x in found)
    kappa = log_ratio / 2
    kappa = torch.where(kappa.abs() < _LEAST_STRETCH, _LEAST_STRETCH, kappa)
    b = (left + right) / (2 * kappa.sinh())
    t = torch.linspace(-1, 1, quadrature.nodes, dtype=b.dtype, device=b.device)
    v = mode.unsqueeze(-1) + right + b * ((-kappa).exp() - (-kappa * t).exp())
    return v, (b * kappa * (2 / (quadrature.nodes - 1))).log() - kappa * t


def edges(
    members: Members, log_peak: Tensor, mode: Tensor, drop: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Distances from the mode where the log-integrand has dropped by so many nats.

    At the mode ``R e^v = 1 + sum_i y_i x_i / (e^{x_i} - 1) = peak``, so the log-integrand drops at
    least by ``peak (d - 1 + e^-d)`` at distance ``d`` to the left and ``peak (e^d - 1 - d)`` to the
    right. Newton's method solves both for the distance, from outside. On the left, the members may
    make it drop much earlier.

    Returns:
        To the left, to the right, and the logarithm of the ratio between the distances of nodes at
        the left and at the right end, shape ``(*batch, K - 1)`` each.
    """
    peak = log_peak.exp()
    per_peak = drop / peak
    left = per_peak + 1
    right = torch.minimum((2 * per_peak).sqrt(), per_peak.log1p() + 1)
    for _ in range(_EDGE_STEPS):
        left = left - (left - 1 + (-left).exp() - per_peak) / -torch.expm1(-left)
        right = right - (torch.expm1(right) - right - per_peak) / torch.expm1(right)
    left, corner = _corner(members, log_peak, mode, left, drop)
    by_distance = _STRETCH * (left / right).log()
    by_corner = corner.log() - (drop / (peak * torch.expm1(right))).log()
    return left, right, torch.minimum(by_distance, by_corner)


def _corner(
    members: Members, log_peak: Tensor, mode: Tensor, left: Tensor, drop: float
) -> tuple[Tensor, Tensor]:
    """Distance of the left edge, and the length over which the integrand falls there.

    Many members that ring at much the same time, long before the rest, make a corner: nothing is
    left of the integrand where only some of them have rung. The sum ``-M`` of their terms is
    log-convex in the time, and ``M`` concave in ``v``: Newton's method for ``log(-M)`` in the time
    and for ``M`` in ``v`` both come from the left without passing the root, and the longer step of
    the two is taken.

    Args:
        members: Members of all subsets but the last.
        log_peak: ``log R e^v`` at the mode.
        mode: The mode ``v``.
        left: A bound on the distance of the left edge from it.
        drop: In nats.

    Returns:
        Both of shape ``(*batch, K - 1)``; the length is infinite where it does not matter.
    """
    excess = torch.expm1(log_peak)  # slope of the members at the mode
    (at_mode,) = members.sums(mode, Clocks.log_rung)
    # The rest and the terms linear in v drop by no less than log_peak - excess.
    most = drop - at_mode + excess - log_peak
    first = torch.maximum(_alike(members, most), mode - left)
    rung, slope = members.sums(first, Clocks.log_rung, Clocks.slope)
    for _ in range(_steps(members, _CORNER_STEPS) - 1):
        first = first + _step(rung, slope, most)
        rung, slope = members.sums(first, Clocks.log_rung, Clocks.slope)
    left = mode - first
    straight = (1 + excess) * (left + torch.expm1(-left))
    # What the rest leaves for the members at the edge, which the last step takes further right:
    # by no more than this.
    needed = (drop - straight - at_mode + excess * left).clamp(min=1.0)
    farthest = _step(rung, slope, needed)
    needed = needed - (1 + excess) * torch.expm1(-left) * farthest
    length = (at_mode - excess * left - rung) / (slope - excess).clamp(min=_TINY)
    share = (1 - straight / (_CORNER_SHARE * drop)).clamp(min=_TINY)
    return left - _step(rung, slope, needed), length.clamp(min=_SHORTEST) / share


def _alike(members: Members, drop: Tensor) -> Tensor:
    """Where the logarithms would add up to ``-drop`` if all scores were alike.

    They add up to no more there, by Jensen's inequality, if that score is the geometric mean;
    nor if it is the mean of those below that, and the others do not count.
    """
    log_s = members.log_rates(torch.zeros_like(members.count))
    mean = members.total(log_s) / members.count.clamp(min=_TINY)
    relative = members.log_rates(-mean)
    slow = (relative < 0).to(relative.dtype)
    number = members.total(slow).clamp(min=_TINY)
    lag = members.total(slow * relative) / number
    log_x, log_x_of_slow = (_log_clock(drop / m) for m in (members.count, number))
    return torch.maximum(log_x, log_x_of_slow - lag) - mean


def _steps(members: Members, numbers: tuple[int, int]) -> int:
    """The first number if there are few elements, the second if there are many."""
    return numbers[members.log_s.shape[-1] > _MANY]


def _log_clock(drop: Tensor) -> Tensor:
    """``log x`` where ``log(1 - e^-x)`` is ``-drop``."""
    return (-torch.log1p(-(-drop).exp())).log()


def _step(rung: Tensor, slope: Tensor, needed: Tensor) -> Tensor:
    """How much later the members' terms may add up to no less than ``-needed``, at least."""
    ratio = (-rung / needed).clamp(min=1)
    slope = slope.clamp(min=_TINY)
    by_log = (ratio.log() * -rung / slope).log1p()
    return torch.maximum(by_log, (-rung - needed) / slope).clamp(min=0)


def log_peak_of(members: Members, log_rest: Tensor) -> Tensor:
    """Root of ``log(1 + sum_i y_i x_i / (e^{x_i} - 1)) - u`` at ``x_i = s_i e^u / R``.

    It is positive at ``u = 0``, negative at ``u = log(1 + sum_i y_i)``, and falls in between. The
    Illinois method finds the root: false position, but an end of the bracket that stays twice in a
    row has its residual halved, so that the next step passes the root.
    """

    def residual(u: Tensor) -> Tensor:
        return members.total(log_rung_slope(members.log_rates(u - log_rest))).log1p() - u

    low = torch.zeros_like(log_rest)
    high = members.count.log1p()
    at_low, at_high = residual(low), residual(high)
    was_low = torch.zeros_like(low, dtype=torch.bool)
    was_high = was_low
    for _ in range(_steps(members, _PEAK_STEPS)):
        u = (high * at_low - low * at_high) / (at_low - at_high).clamp(min=_TINY)
        at_u = residual(u)
        is_low = at_u > 0
        low, high = torch.where(is_low, u, low), torch.where(is_low, high, u)
        # Halve the residual of an end that has stayed twice in a row.
        at_low, at_high = (
            torch.where(is_low, at_u, torch.where(was_high, at_low / 2, at_low)),
            torch.where(is_low, torch.where(was_low, at_high / 2, at_high), at_u),
        )
        was_low, was_high = is_low, ~is_low
    return u
