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
from typing import Any, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_drpm.ops.clocks import Rings, log_hit, log_hit_slope
from pyro_drpm.ops.interpolation import interpolated
from pyro_drpm.ops.labels import subset_of_each
from pyro_drpm.ops.log_rests import log_rests
from pyro_drpm.ops.overrides import overridable

__all__ = ["log_set_probability"]


_T = TypeVar("_T")


class _Quadrature(NamedTuple):
    nodes: int
    drop: float  # nats between the largest value of the integrand and the first and last node


# What it takes to reach the precision of the dtype, in which the integrand's terms are evaluated.
_QUADRATURE = {torch.float64: _Quadrature(72, 36.0), torch.float32: _Quadrature(24, 15.0)}
# Nodes lie between bounds on the edges, near a mode that need not be the exact one.
_PEAK_STEPS = 6
_EDGE_STEPS = 2
# The distances of the nodes at both ends have the ratio of the distances of both ends from the
# mode to this power: the one that needs the fewest nodes in the worst of 840 settings.
_STRETCH = 0.9
_LEAST_STRETCH = 1e-3
# All terms are analytic functions of log-rates with imaginary parts below this.
_STRIP = math.pi / 2
# Elements times nodes that are evaluated at a time, few enough to stay in a processor's cache.
_CHUNK = 1 << 18
_TINY = 1e-300


@overridable
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
    if Y.shape[-2] == 1:  # certain, with gradients of zero
        return 0.0 * (log_s * Y.squeeze(-2)).sum(-1).double()
    # Of two subsets only the first has an integral: all elements meet its nodes without looking up
    # whose they meet.
    subset = subset_of_each(Y) if hard and Y.shape[-2] > 2 else None
    log_rest = log_rests(log_s, Y, subset)
    # Else the subset or the rest is empty, and I_k = 1. The last subset has no rest.
    active = (Y[..., :-1, :].sum(-1) > 0) & log_rest.isfinite()
    log_rest = torch.where(active, log_rest, 0.0)
    with torch.no_grad():
        members = _members(log_s, Y, subset)
        v, log_step = _nodes(members, log_rest, quadrature)
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
            return *_plain_gradient(inputs, v, log_step, grads[0]), None, None, None
        grad = grads[0].unsqueeze(-1).to(log_s.dtype)
        grad_s = None if by_log_s is None else (Y[..., :-1, :] * grad * by_log_s).sum(-2)
        grad_Y = None if by_Y is None else F.pad(grad * by_Y, (0, 0, 0, 1))
        return grad_s, grad_Y, grads[0] * by_log_rest, None, None, None


def _plain_gradient(
    inputs: tuple[Tensor, Tensor, Tensor], v: Tensor, log_step: Tensor, grad: Tensor
) -> tuple[Tensor | None, ...]:
    log_s, Y, log_rest = inputs
    log_time = log_rest.unsqueeze(-1) + v
    log_f = log_time - log_time.exp() + log_step + _Members(log_s, Y).log_hits(v)
    log_sum = log_f.logsumexp(-1)
    wanted = [x for x in inputs if x.requires_grad]
    found = iter(torch.autograd.grad(log_sum, wanted, grad, create_graph=True))
    return tuple(next(found) if x.requires_grad else None for x in inputs)


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

    def slopes(self, v: Tensor) -> Tensor:
        """``sum_i y_ki x_ki / (e^{x_ki} - 1)``, ``x_ki = s_i e^{v_k}``, ``(*batch, K - 1)``."""
        log_x = self.log_s.unsqueeze(-2) + v.to(self.log_s.dtype).unsqueeze(-1)
        return (self.Y * log_hit_slope(log_x)).sum(-1).double()

    def log_hits(self, v: Tensor) -> Tensor:
        """``sum_i y_ki log(1 - exp(-s_i e^{v_kq}))``, ``(*batch, K - 1, nodes)``, float64."""
        pairs = zip(self.Y.unbind(-2), v.unbind(-2), strict=True)
        sums = [y.unsqueeze(-2) @ _outer(log_hit, self.log_s, v_k) for y, v_k in pairs]
        return torch.cat(sums, -2).double()

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
    for y, log_rest_k, v_k in zip(*(x.unbind(-2) for x in (Y, log_rest, v)), strict=True):
        rings = _outer(Rings, log_s.squeeze(-2), v_k)
        rung = rings.log_hit()
        log_f.append(log_rest_k + (y.unsqueeze(-2) @ rung).squeeze(-2))
        weight = log_f[-1].softmax(-1).to(y.dtype).unsqueeze(-2)
        if by_log_s:
            slopes.append((weight @ rings.slope().mT).squeeze(-2))
        if by_Y:
            hits.append((weight @ rung.mT).squeeze(-2))
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

    def slopes(self, v: Tensor) -> Tensor:
        v = F.pad(v, (0, 1))
        own_v = v.to(self.log_s.dtype).flatten().index_select(0, self.row)
        slope = log_hit_slope(self.log_s.flatten() + own_v).double()
        sums = torch.zeros_like(v).flatten().index_add_(0, self.row, slope)
        return sums.view(v.shape)[..., :-1]

    def log_hits(self, v: Tensor) -> Tensor:
        v = F.pad(v, (0, 0, 0, 1))
        sums = torch.zeros_like(v).flatten(0, -2)
        for row, log_rate, time in self._own(v):
            sums.index_add_(0, row, log_hit(log_rate, time).double())
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
            sums = [w_k.unsqueeze(-2) @ _outer(log_hit, log_s, v_k).mT for v_k, w_k in pairs]
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


def _outer(g: Callable[[Tensor, Tensor], _T], log_s: Tensor, v: Tensor) -> _T:
    """``g(log s_i + v_q)`` for the nodes of one subset, shape ``(*batch, n, nodes)``."""
    center, time = _centered(v, log_s.dtype)
    log_rate = (log_s + center).to(log_s.dtype)
    return g(log_rate.unsqueeze(-1), time.unsqueeze(-2))


def _centered(v: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The center of the nodes, and the times ``exp(v)`` of the nodes measured from it."""
    center = (v[..., :1] + v[..., -1:]) / 2
    return center, (v - center).to(dtype).exp()


def _nodes(members: _Members, log_rest: Tensor, quadrature: _Quadrature) -> tuple[Tensor, Tensor]:
    """Nodes and the logarithms of their distances, ``(*batch, K - 1, nodes)`` each."""
    log_peak = _log_peak(members, log_rest)
    left, right = (edge.unsqueeze(-1) for edge in _edges(log_peak, quadrature.drop))
    kappa = ((left / right).log() * (_STRETCH / 2)).clamp(min=_LEAST_STRETCH)
    b = (left + right) / (2 * kappa.sinh())
    last_edge = (log_peak - log_rest).unsqueeze(-1) + right
    t = torch.linspace(-1, 1, quadrature.nodes, dtype=b.dtype, device=b.device)
    v = last_edge + b * ((-kappa).exp() - (-kappa * t).exp())
    return v, (b * kappa * (2 / (quadrature.nodes - 1))).log() - kappa * t


def _edges(log_peak: Tensor, drop: float) -> tuple[Tensor, Tensor]:
    """Distances on either side of the mode where the log-integrand has dropped by so many nats.

    At the mode ``R e^v = 1 + sum_i y_i x_i / (e^{x_i} - 1) = peak``, so the log-integrand drops at
    least by ``peak (d - 1 + e^-d)`` at distance ``d`` to the left and ``peak (e^d - 1 - d)`` to the
    right. Newton's method solves both for the distance, from outside.
    """
    per_peak = drop * (-log_peak).exp()
    left = per_peak + 1
    right = torch.minimum((2 * per_peak).sqrt(), per_peak.log1p() + 1)
    for _ in range(_EDGE_STEPS):
        left = left - (left - 1 + (-left).exp() - per_peak) / -torch.expm1(-left)
        right = right - (torch.expm1(right) - right - per_peak) / torch.expm1(right)
    return left, right


def _log_peak(members: _Members, log_rest: Tensor) -> Tensor:
    """Root of ``log(1 + sum_i y_i x_i / (e^{x_i} - 1)) - u`` at ``x_i = s_i e^u / R``.

    It falls from above to below zero on ``[0, log(1 + sum_i y_i)]``; found by the Illinois variant
    of the false position.
    """

    def residual(u: Tensor) -> Tensor:
        return members.slopes(u - log_rest).log1p() - u

    low = torch.zeros_like(log_rest)
    high = members.Y.sum(-1).double().log1p()
    at_low, at_high = residual(low), residual(high)
    was_low = torch.zeros_like(low, dtype=torch.bool)
    was_high = was_low
    for _ in range(_PEAK_STEPS):
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
