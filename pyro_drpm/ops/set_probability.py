# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

r"""The exact probability of a partition given its sizes, under a Plackett-Luce ordering.

Elements that ring at the times of independent exponential clocks with rates :math:`s_i` ring in
Plackett-Luce order. The elements of subset :math:`k` come before all of the later subsets with
probability

.. math::
    I_k = \int_0^\infty R_k e^{-R_k t} \prod_i (1 - e^{-s_i t})^{y_{ki}} \, dt, \qquad
    R_k = \sum_i s_i \sum_{l > k} y_{li},

and by Luce's choice axiom :math:`p(Y \mid n_1, \dots, n_K) = \prod_k I_k`. With
:math:`t = e^v` the logarithm of the integrand is strictly concave in :math:`v` and falls
exponentially on the left and doubly exponentially on the right, so that the trapezoid rule between
two points where it has fallen far enough converges exponentially (Trefethen and Weideman: The
Exponentially Convergent Trapezoidal Rule, SIAM Review 2014). It is applied after the substitution
:math:`v = a - b e^{-\kappa t}`, which makes the long tail on the left as short as the right one and
spares half of the nodes.

The formula continues the probability to matrices :math:`Y` with entries in :math:`[0, 1]`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_drpm.ops.clocks import Rings, log_hit, log_hit_slope
from pyro_drpm.ops.interpolation import interpolated
from pyro_drpm.ops.labels import subset_of_each
from pyro_drpm.ops.log_rests import log_rests
from pyro_drpm.ops.overrides import overridable
from pyro_drpm.ops.plackett_luce import are_equal
from pyro_drpm.ops.precision import full_precision
from pyro_drpm.ops.second_order import differentiable_gradients
from pyro_drpm.ops.transforms import transformed

__all__ = ["log_set_probability"]


class _Quadrature(NamedTuple):
    nodes: int
    drop: float  # nats between the largest value of the integrand and the first and last node


# What it takes to reach the precision of the dtype, in which the integrand's terms are evaluated.
_QUADRATURE = {torch.float64: _Quadrature(80, 34.0), torch.float32: _Quadrature(24, 15.0)}
# Nodes lie between bounds on the edges, near a mode that need not be the exact one. So many steps
# towards either, for up to _MANY elements and for more, whose sum falls more steeply.
_EDGE_STEPS = 2
_MANY = 500
_PEAK_STEPS = 4, 6
_CORNER_STEPS = 1, 3
# The distances of the nodes at both ends have the ratio of the distances of both ends from the
# mode to this power, or that of the lengths over which the integrand falls at both ends where that
# is less: the left one counts as so much longer as less of this share of the drop is left there.
# Chosen on the settings that docs/mathematics.md lists.
_STRETCH = 0.9
_CORNER_SHARE = 0.7
_LEAST_STRETCH = 1e-3
_SHORTEST = 1e-6
# All terms are analytic functions of log-rates with imaginary parts below this.
_STRIP = math.pi / 2
# Elements times nodes that are evaluated at a time, few enough to stay in a processor's cache.
_CHUNK = 1 << 18
_TINY = 1e-300


@overridable
@full_precision
def log_set_probability(log_s: Tensor, Y: Tensor, *, hard: bool) -> Tensor:
    """``log p(Y | sizes)``.

    Args:
        log_s: Log-scores, shape ``(*batch, n)``, float32 or float64.
        Y: Partition matrix, shape ``(*batch, K, n)``, entries in [0, 1].
        hard: Whether the columns of ``Y`` are one-hot; then an element meets its own subset only
            and the cost is ``O(n nodes)`` instead of ``O(K n nodes)``, except for the gradient
            with respect to ``Y``.

    Returns:
        Shape ``(*batch,)``, float64.
    """
    if not torch.is_grad_enabled():
        log_s, Y = log_s.detach(), Y.detach()  # or their gradients would be computed beside
    quadrature = _QUADRATURE[log_s.dtype]
    batch_shape = torch.broadcast_shapes(log_s.shape[:-1], Y.shape[:-2])
    log_s, Y = log_s.expand(*batch_shape, -1), Y.expand(*batch_shape, -1, -1)
    if hard and are_equal(log_s) and not Y.requires_grad:  # all partitions are as probable
        log_ways = torch.lgamma(Y.sum(-1).double() + 1).sum(-1)
        return log_ways - math.lgamma(Y.shape[-1] + 1)
    if Y.shape[-2] == 1:  # certain, with gradients of zero
        return 0.0 * (log_s * Y.squeeze(-2)).sum(-1).double()
    # Of two subsets only the first has an integral: all elements meet its nodes without looking up
    # whose they meet.
    look_up = hard and Y.shape[-2] > 2 and not transformed()
    subset = subset_of_each(Y) if look_up else None
    log_rest = log_rests(log_s, Y, subset)
    # Else the subset or the rest is empty, and I_k = 1. The last subset has no rest.
    active = (Y[..., :-1, :].sum(-1) > 0) & log_rest.isfinite()
    log_rest = torch.where(active, log_rest, 0.0)
    members = _members(log_s.detach(), Y.detach(), subset)
    v, log_step = _nodes(members, log_rest.detach(), quadrature)
    v, log_step = v.detach(), log_step.detach()  # a traced graph would go back through them
    if transformed():
        log_integral = _log_sum(log_s, Y, log_rest, v, log_step)
    else:
        log_integral = _LogSumIntegrand.apply(log_s, Y, log_rest, v, log_step, subset)
    return torch.where(active, log_integral, 0.0).sum(-1)


class _LogSumIntegrand(torch.autograd.Function):
    """``log sum_q f(v_kq) step_kq``, shape ``(*batch, K - 1)``.

    The nodes are constants: the gradient through the integrand is exact up to quadrature error. It
    is computed at once, from the same exponentials, and nothing of size ``K n nodes`` is kept.
    """

    @staticmethod
    def forward(
        ctx: Any,
        log_s: Tensor,
        Y: Tensor,
        log_rest: Tensor,
        v: Tensor,
        log_step: Tensor,
        subset: Tensor | None,
    ) -> Tensor:
        log_time = log_rest.unsqueeze(-1) + v
        time = log_time.exp()
        members = _members(log_s, Y, subset)
        integrals = members.integrate(log_time - time + log_step, v, *ctx.needs_input_grad[:2])
        by_log_rest = (integrals.weight * (1 - time)).sum(-1)
        slopes = by_log_rest, integrals.by_log_s, integrals.by_Y
        ctx.save_for_backward(log_s, Y, log_rest, v, log_step, *slopes)
        return integrals.log_sum

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        log_s, Y, log_rest, v, log_step, by_log_rest, by_log_s, by_Y = ctx.saved_tensors
        if torch.is_grad_enabled():  # a derivative of the derivative is wanted
            inputs = (log_s, Y, log_rest)
            log_sum = partial(_log_sum, v=v, log_step=log_step)
            return *differentiable_gradients(log_sum, inputs, grads[0]), None, None, None
        grad = grads[0].unsqueeze(-1).to(log_s.dtype)
        grad_s = None if by_log_s is None else (Y[..., :-1, :] * grad * by_log_s).sum(-2)
        grad_Y = None if by_Y is None else F.pad(grad * by_Y, (0, 0, 0, 1))
        return grad_s, grad_Y, grads[0] * by_log_rest, None, None, None


def _log_sum(log_s: Tensor, Y: Tensor, log_rest: Tensor, v: Tensor, log_step: Tensor) -> Tensor:
    """The same of differentiable operations, for derivatives of derivatives and transforms."""
    log_time = log_rest.unsqueeze(-1) + v
    log_x = log_s.double().unsqueeze(-2).unsqueeze(-1) + v.unsqueeze(-2)
    log_hits = (Y[..., :-1, :].unsqueeze(-1) * log_hit(log_x)).sum(-2)
    return (log_time - log_time.exp() + log_step + log_hits).logsumexp(-1)


class _Integrals(NamedTuple):
    """Logarithms of the integrals of all subsets but the last, and their derivatives.

    Attributes:
        log_sum: Shape ``(*batch, K - 1)``.
        weight: Shares of the nodes in an integral, ``(*batch, K - 1, nodes)``.
        by_log_s: Derivatives with respect to the log-score of element ``i`` if it is in subset
            ``k``, shape ``(*batch, K - 1, n)``, or ``(*batch, 1, n)`` for its own subset.
        by_Y: Derivatives with respect to the entries of ``Y``, shape ``(*batch, K - 1, n)``.
    """

    log_sum: Tensor
    weight: Tensor
    by_log_s: Tensor | None
    by_Y: Tensor | None


class _Members:
    """Sums over the members of all subsets but the last of functions of ``log s_i + v``.

    They are evaluated in the dtype of the scores. For that every subset's nodes ``v`` are measured
    from a center, to which the rates are brought: the sums are small where it matters.
    """

    def __init__(self, log_s: Tensor, Y: Tensor) -> None:
        self.log_s, self.Y = log_s, Y[..., :-1, :]
        self.count = self.Y.sum(-1).double()

    def steps(self, numbers: tuple[int, int]) -> int:
        """The first number if there are few elements, the second if there are many."""
        return numbers[self.log_s.shape[-1] > _MANY]

    def alike(self, drop: Tensor) -> Tensor:
        """Where the logarithms would add up to ``-drop`` if all scores were alike.

        They add up to no more there, by Jensen's inequality, if that score is the geometric mean;
        nor if it is the mean of those below that, and the others do not count.
        """
        log_s = self.log_rates(torch.zeros_like(self.count))
        mean = self.total(log_s) / self.count.clamp(min=_TINY)
        relative = self.log_rates(-mean)
        slow = (relative < 0).to(relative.dtype)
        number = self.total(slow).clamp(min=_TINY)
        lag = self.total(slow * relative) / number
        log_x, log_x_of_slow = (_log_clock(drop / m) for m in (self.count, number))
        return torch.maximum(log_x, log_x_of_slow - lag) - mean

    def log_rates(self, v: Tensor) -> Tensor:
        """``log s_i + v_k``, with ``v`` of shape ``(*batch, K - 1)``."""
        return self.log_s.unsqueeze(-2) + v.to(self.log_s.dtype).unsqueeze(-1)

    def total(self, values: Tensor) -> Tensor:
        """Sum over the members of what has the shape of :meth:`log_rates`, float64."""
        return (self.Y * values).sum(-1).double()

    def sums(self, v: Tensor, *terms: Callable[[Rings], Tensor]) -> list[Tensor]:
        """``sum_i y_ki term(s_i e^{v_k})``, ``(*batch, K - 1)``, float64."""
        rings = Rings(self.log_rates(v), 1.0)
        return [self.total(term(rings)) for term in terms]

    def integrate(self, log_rest: Tensor, v: Tensor, by_log_s: bool, by_Y: bool) -> _Integrals:
        """Sum the integrand over the nodes; the derivatives that are wanted beside it.

        Args:
            log_rest: Logarithm of the integrand but for the members, ``(*batch, K - 1, nodes)``.
            v: Nodes, the same shape.
            by_log_s: Whether to give these derivatives.
            by_Y: Likewise.
        """
        step = max(1, _CHUNK // max(1, self.log_s.shape[-1] * v.shape[-1]))
        inputs = (self.log_s.unsqueeze(-2), self.Y, log_rest, v)
        chunks = (x.reshape(-1, *x.shape[-2:]).split(step) for x in inputs)
        parts = [
            _integrate(log_s, Y, rest, nodes, by_log_s, by_Y)
            for log_s, Y, rest, nodes in zip(*chunks, strict=True)
        ]
        log_sums, weights, slopes, hits = zip(*parts, strict=True)

        def joined(values: tuple[Tensor, ...]) -> Tensor:
            return torch.cat(values).view(v.shape[:-2] + values[0].shape[1:])

        return _Integrals(
            joined(log_sums),
            joined(weights),
            joined(slopes) if by_log_s else None,
            joined(hits) if by_Y else None,
        )


def _integrate(
    log_s: Tensor, Y: Tensor, log_rest: Tensor, v: Tensor, by_log_s: bool, by_Y: bool
) -> _Integrals:
    """The same for some of the batch; ``log_s`` of shape ``(batch, 1, n)``."""
    log_f, slopes, hits = [], [], []
    size = max(1, _CHUNK // v.shape[-1])
    for y, log_rest_k, v_k in zip(*(x.unbind(-2) for x in (Y, log_rest, v)), strict=True):
        rings = [_outer_rings(part, v_k) for part in log_s.squeeze(-2).split(size, -1)]
        rung = [part.log_hit() for part in rings]
        members = zip(y.unsqueeze(-1).split(size, -2), rung, strict=True)
        sums = [(y_part * part).sum(-2).double() for y_part, part in members]
        log_f.append(log_rest_k + sum(sums))
        weight = log_f[-1].softmax(-1).to(y.dtype).unsqueeze(-2)
        if by_log_s:
            slopes.append(torch.cat([weight @ part.slope().mT for part in rings], -1).squeeze(-2))
        if by_Y:
            hits.append(torch.cat([weight @ part.mT for part in rung], -1).squeeze(-2))
    all_log_f = torch.stack(log_f, -2)
    return _Integrals(
        all_log_f.logsumexp(-1),
        all_log_f.softmax(-1),
        torch.stack(slopes, -2) if by_log_s else None,
        torch.stack(hits, -2) if by_Y else None,
    )


class _OwnMembers(_Members):
    """The same for one-hot columns, where an element meets its own subset's nodes only.

    Those of the last subset meet a row of zeros, and what they add up to is dropped.
    """

    def __init__(self, log_s: Tensor, Y: Tensor, subset: Tensor) -> None:
        super().__init__(log_s, Y)
        first = torch.arange(subset[..., 0].numel(), device=Y.device) * Y.shape[-2]
        # Of each element, the row in the matrix of all subsets of the batch.
        self.row = (subset + first.view(subset.shape[:-1]).unsqueeze(-1)).flatten()

    def log_rates(self, v: Tensor) -> Tensor:
        own_v = F.pad(v, (0, 1)).to(self.log_s.dtype).flatten().index_select(0, self.row)
        return self.log_s.flatten() + own_v

    def total(self, values: Tensor) -> Tensor:
        sums = self.count.new_zeros(*self.count.shape[:-1], self.count.shape[-1] + 1)
        sums.view(-1).index_add_(0, self.row, values.double().flatten())
        return sums[..., :-1]

    def log_hits(self, v: Tensor) -> Tensor:
        v = F.pad(v, (0, 0, 0, 1))
        sums = torch.zeros_like(v).flatten(0, -2)
        for row, log_rate, time in self._own(v):
            sums.index_add_(0, row, Rings(log_rate, time).log_hit().double())
        return sums.view(v.shape)[..., :-1, :]

    def integrate(self, log_rest: Tensor, v: Tensor, by_log_s: bool, by_Y: bool) -> _Integrals:
        log_f = log_rest + self.log_hits(v)
        weight = log_f.softmax(-1)
        in_dtype = weight.to(self.log_s.dtype)
        return _Integrals(
            log_f.logsumexp(-1),
            weight,
            self._own_slopes(v, in_dtype).unsqueeze(-2) if by_log_s else None,
            self._hits(v, in_dtype) if by_Y else None,
        )

    def _own_slopes(self, v: Tensor, weight: Tensor) -> Tensor:
        v, weight = (F.pad(x, (0, 0, 0, 1)) for x in (v, weight))
        weight = weight.flatten(0, -2)
        sums = [
            (Rings(log_rate, time).slope() * weight.index_select(0, row)).sum(-1)
            for row, log_rate, time in self._own(v)
        ]
        return torch.cat(sums).view(self.log_s.shape)

    def _hits(self, v: Tensor, weight: Tensor) -> Tensor:
        """``sum_q weight_kq log_hit(log s_i + v_kq)``, ``(*batch, K - 1, n)``."""

        def at(log_s: Tensor) -> Tensor:
            pairs = zip(v.unbind(-2), weight.unbind(-2), strict=True)
            sums = [w_k.unsqueeze(-2) @ _outer_rings(log_s, v_k).log_hit().mT for v_k, w_k in pairs]
            return torch.cat(sums, -2).mT

        return interpolated(at, self.log_s, _STRIP, v.shape[-2] * v.shape[-1]).mT

    def _own(self, v: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Of some elements after the other: rows, log-rates and times of their subsets' nodes."""
        center, time = (x.flatten(0, -2) for x in _centered(v, self.log_s.dtype))
        step = max(1, _CHUNK // v.shape[-1])
        chunks = (x.split(step) for x in (self.row, self.log_s.flatten()))
        for row, log_s in zip(*chunks, strict=True):
            # Whole rows, many times as fast as gather.
            log_rate = log_s.unsqueeze(-1) + center.index_select(0, row)
            yield row, log_rate.to(log_s.dtype), time.index_select(0, row)


def _members(log_s: Tensor, Y: Tensor, subset: Tensor | None) -> _Members:
    return _Members(log_s, Y) if subset is None else _OwnMembers(log_s, Y, subset)


def _outer_rings(log_s: Tensor, v: Tensor) -> Rings:
    """``Rings`` at all nodes of one subset, of shape ``(*batch, n, nodes)``."""
    center, time = _centered(v, log_s.dtype)
    log_rate = (log_s + center).to(log_s.dtype)
    return Rings(log_rate.unsqueeze(-1), time.unsqueeze(-2))


def _centered(v: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The center of the nodes, and the times ``exp(v)`` of the nodes measured from it."""
    center = (v[..., :1] + v[..., -1:]) / 2
    return center, (v - center).to(dtype).exp()


def _nodes(members: _Members, log_rest: Tensor, quadrature: _Quadrature) -> tuple[Tensor, Tensor]:
    """Nodes and the logarithms of their distances, ``(*batch, K - 1, nodes)`` each."""
    log_peak = _log_peak(members, log_rest)
    mode = log_peak - log_rest
    edges = _edges(members, log_peak, mode, quadrature.drop)
    left, right, log_ratio = (x.unsqueeze(-1) for x in edges)
    kappa = log_ratio / 2
    kappa = torch.where(kappa.abs() < _LEAST_STRETCH, _LEAST_STRETCH, kappa)
    b = (left + right) / (2 * kappa.sinh())
    t = torch.linspace(-1, 1, quadrature.nodes, dtype=b.dtype, device=b.device)
    v = mode.unsqueeze(-1) + right + b * ((-kappa).exp() - (-kappa * t).exp())
    return v, (b * kappa * (2 / (quadrature.nodes - 1))).log() - kappa * t


def _edges(
    members: _Members, log_peak: Tensor, mode: Tensor, drop: float
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
    members: _Members, log_peak: Tensor, mode: Tensor, left: Tensor, drop: float
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
    (at_mode,) = members.sums(mode, Rings.log_hit)
    # The rest and the terms linear in v drop by no less than log_peak - excess.
    most = drop - at_mode + excess - log_peak
    first = torch.maximum(members.alike(most), mode - left)
    hits, slope = members.sums(first, Rings.log_hit, Rings.slope)
    for _ in range(members.steps(_CORNER_STEPS) - 1):
        first = first + _step(hits, slope, most)
        hits, slope = members.sums(first, Rings.log_hit, Rings.slope)
    left = mode - first
    straight = (1 + excess) * (left + torch.expm1(-left))
    # What the rest leaves for the members at the edge, which the last step takes further right:
    # by no more than this.
    needed = (drop - straight - at_mode + excess * left).clamp(min=1.0)
    farthest = _step(hits, slope, needed)
    needed = needed - (1 + excess) * torch.expm1(-left) * farthest
    length = (at_mode - excess * left - hits) / (slope - excess).clamp(min=_TINY)
    share = (1 - straight / (_CORNER_SHARE * drop)).clamp(min=_TINY)
    return left - _step(hits, slope, needed), length.clamp(min=_SHORTEST) / share


def _log_clock(drop: Tensor) -> Tensor:
    """``log x`` where ``log(1 - e^-x)`` is ``-drop``."""
    return (-torch.log1p(-(-drop).exp())).log()


def _step(hits: Tensor, slope: Tensor, needed: Tensor) -> Tensor:
    """How much later the members' terms may add up to no less than ``-needed``, at least."""
    ratio = (-hits / needed).clamp(min=1)
    slope = slope.clamp(min=_TINY)
    by_log = (ratio.log() * -hits / slope).log1p()
    return torch.maximum(by_log, (-hits - needed) / slope).clamp(min=0)


def _log_peak(members: _Members, log_rest: Tensor) -> Tensor:
    """Root of ``log(1 + sum_i y_i x_i / (e^{x_i} - 1)) - u`` at ``x_i = s_i e^u / R``.

    It falls from above to below zero on ``[0, log(1 + sum_i y_i)]``; found by the Illinois variant
    of the false position.
    """

    def residual(u: Tensor) -> Tensor:
        return members.total(log_hit_slope(members.log_rates(u - log_rest))).log1p() - u

    low = torch.zeros_like(log_rest)
    high = members.count.log1p()
    at_low, at_high = residual(low), residual(high)
    was_low = torch.zeros_like(low, dtype=torch.bool)
    was_high = was_low
    for _ in range(members.steps(_PEAK_STEPS)):
        u = (high * at_low - low * at_high) / (at_low - at_high).clamp(min=_TINY)
        at_u = residual(u)
        is_low = at_u > 0
        low, high = torch.where(is_low, u, low), torch.where(is_low, high, u)
        # An end that stays twice running counts half, or it would stay for good.
        at_low, at_high = (
            torch.where(is_low, at_u, torch.where(was_high, at_low / 2, at_low)),
            torch.where(is_low, torch.where(was_low, at_high / 2, at_high), at_u),
        )
        was_low, was_high = is_low, ~is_low
    return u
