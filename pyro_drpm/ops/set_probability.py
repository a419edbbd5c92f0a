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
Exponentially Convergent Trapezoidal Rule, SIAM Review 2014).

The formula continues the probability to matrices :math:`Y` with entries in :math:`[0, 1]`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyro_drpm.ops.interpolation import interpolated
from pyro_drpm.ops.labels import subset_of_each
from pyro_drpm.ops.overrides import overridable

__all__ = ["log_set_probability"]


Term = Callable[[Tensor, Tensor], Tensor]


class _Quadrature(NamedTuple):
    nodes: int
    drop: float  # nats between the largest value of the integrand and the first and last node


# What it takes to reach the precision of the dtype, in which the integrand's terms are evaluated.
_QUADRATURE = {torch.float64: _Quadrature(128, 36.0), torch.float32: _Quadrature(36, 16.0)}
_PEAK_STEPS = 6
_EDGE_STEPS = 4
# At time exp(v) of a center, 1 - exp(-x) is x for log-rates below -_REACH and 1 above it, at all
# nodes and to double precision.
_REACH = 60.0
_LARGE = 80.0  # x / (e^x - 1) is nil beyond
# All terms are analytic functions of log-rates with imaginary parts below this.
_STRIP = math.pi / 2
# Elements times nodes that are held at a time.
_CHUNK = 1 << 19
# exp() of more than this would overflow in float32 gradients.
_MAX_LOG = 80.0
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
    quadrature = _QUADRATURE[log_s.dtype]
    batch_shape = torch.broadcast_shapes(log_s.shape[:-1], Y.shape[:-2])
    log_s, Y = log_s.expand(*batch_shape, -1), Y.expand(*batch_shape, -1, -1)
    log_rest = _log_rest(log_s.double(), Y.double())
    active = (Y.sum(-1) > 0) & log_rest.isfinite()  # else the subset or the rest is empty, I_k = 1
    log_rest = torch.where(active, log_rest, 0.0)
    # Of two subsets only the first has an integral: all elements meet its nodes without looking up
    # whose they meet.
    subset = subset_of_each(Y) if hard and Y.shape[-2] > 2 else None
    with torch.no_grad():
        members = _members(log_s, Y, subset)
        low, high = _edges(members, log_rest, quadrature.drop)
    step = (high - low).unsqueeze(-1) / (quadrature.nodes - 1)
    v = low.unsqueeze(-1) + step * torch.arange(quadrature.nodes, device=low.device)
    log_integral = _LogSumIntegrand.apply(log_s, Y, log_rest, v, subset) + step.squeeze(-1).log()
    return torch.where(active, log_integral, 0.0).sum(-1)


def _log_rest(log_s: Tensor, Y: Tensor) -> Tensor:
    """``log R_k``, shape ``(*batch, K)``; ``-inf`` where the rest is empty."""
    later = Y.flip(-2).cumsum(-2).flip(-2) - Y
    log_s = log_s.unsqueeze(-2)
    present = later.detach() > 0
    top = log_s.detach().masked_fill(~present, -math.inf).amax(-1, keepdim=True)
    top = torch.where(top.isfinite(), top, 0.0)
    # Absent elements above the top count in the gradient alone, up to the bound.
    weight = (log_s - top).clamp(max=_MAX_LOG).exp() * later
    total = weight.sum(-1)
    empty = ~present.any(-1)
    log_total = torch.where(empty, 1.0, total).log()
    return torch.where(empty, -math.inf, log_total + top.squeeze(-1))


class _LogSumIntegrand(torch.autograd.Function):
    """``log sum_q f(v_kq)``, shape ``(*batch, K)``.

    The nodes are constants: the gradient through the integrand is exact up to quadrature error.
    Nothing of size ``K n nodes`` is kept for it.
    """

    @staticmethod
    def forward(
        ctx: Any, log_s: Tensor, Y: Tensor, log_rest: Tensor, v: Tensor, subset: Tensor | None
    ) -> Tensor:
        log_f = _log_integrand(_members(log_s, Y, subset), log_rest, v)
        ctx.save_for_backward(log_s, Y, log_rest, v, log_f.softmax(-1), subset)
        return log_f.logsumexp(-1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        log_s, Y, log_rest, v, weight, subset = ctx.saved_tensors
        if torch.is_grad_enabled():  # a derivative of the derivative is wanted
            return *_plain_gradient((log_s, Y, log_rest), v, grads[0]), None, None
        weight = weight * grads[0].unsqueeze(-1)
        grad_rest = (weight * (1 - (log_rest.unsqueeze(-1) + v).exp())).sum(-1)
        members, weight = _members(log_s, Y, subset), weight.to(log_s.dtype)
        grad_s = members.own_spread(_log_hit_slope, v, weight) if ctx.needs_input_grad[0] else None
        grad_Y = members.spread(_log_hit, v, weight) if ctx.needs_input_grad[1] else None
        return grad_s, grad_Y, grad_rest, None, None


def _plain_gradient(
    inputs: tuple[Tensor, Tensor, Tensor], v: Tensor, grad: Tensor
) -> tuple[Tensor | None, ...]:
    log_s, Y, log_rest = inputs
    log_sum = _log_integrand(_Members(log_s, Y), log_rest, v).logsumexp(-1)
    wanted = [x for x in inputs if x.requires_grad]
    found = iter(torch.autograd.grad(log_sum, wanted, grad, create_graph=True))
    return tuple(next(found) if x.requires_grad else None for x in inputs)


class _Members:
    """Sums over the members of subsets of functions of ``log s_i + v``.

    They are evaluated in the dtype of the scores. For that every subset's nodes ``v`` are measured
    from a center, to which the rates are brought: the sums are small where it matters.
    """

    def __init__(self, log_s: Tensor, Y: Tensor) -> None:
        self.log_s, self.Y = log_s, Y

    def total(self, g: Term, v: Tensor) -> Tensor:
        """``sum_i y_ki g(log s_i + v_kq)``, shape ``(*batch, K, nodes)``, float64.

        Zero for the last subset, behind which there is no rest and no integral.
        """
        pairs = zip(*(x[..., :-1, :].unbind(-2) for x in (self.Y, v)), strict=True)
        sums = [y.unsqueeze(-2) @ _outer(g, self.log_s, v_k) for y, v_k in pairs]
        last = self.log_s.new_zeros(*v.shape[:-2], 1, v.shape[-1])
        return torch.cat([*sums, last], -2).double()

    def spread(self, g: Term, v: Tensor, weight: Tensor) -> Tensor:
        """``sum_q weight_kq g(log s_i + v_kq)``, shape ``(*batch, K, n)``; zero for the last."""

        def at(log_s: Tensor) -> Tensor:
            pairs = zip(*(x[..., :-1, :].unbind(-2) for x in (v, weight)), strict=True)
            sums = [_outer(g, log_s, v_k) @ w_k.unsqueeze(-1) for v_k, w_k in pairs]
            last = log_s.new_zeros(*v.shape[:-2], log_s.shape[-1], 1)
            return torch.cat([*sums, last], -1)

        evaluations = (v.shape[-2] - 1) * v.shape[-1]
        return interpolated(at, self.log_s, _STRIP, evaluations).mT

    def own_spread(self, g: Term, v: Tensor, weight: Tensor) -> Tensor:
        """``sum_kq y_ki weight_kq g(log s_i + v_kq)``, shape ``(*batch, n)``."""
        return (self.Y * self.spread(g, v, weight)).sum(-2)


class _OwnMembers(_Members):
    """The same for one-hot columns, where an element meets its own subset's nodes only."""

    def __init__(self, log_s: Tensor, Y: Tensor, subset: Tensor) -> None:
        super().__init__(log_s, Y)
        first = torch.arange(subset[..., 0].numel(), device=Y.device) * Y.shape[-2]
        # Of each element, the row in the matrix of all subsets of the batch.
        self.row = (subset + first.view(subset.shape[:-1]).unsqueeze(-1)).flatten()
        self.step = max(1, _CHUNK // max(1, log_s.numel()))

    def total(self, g: Term, v: Tensor) -> Tensor:
        parts = []
        for part in v.split(self.step, -1):
            values = self._own(g, part).double().flatten(0, -2)
            sums = torch.zeros_like(part).flatten(0, -2).index_add_(0, self.row, values)
            parts.append(sums.view(part.shape))
        return torch.cat(parts, -1)

    def own_spread(self, g: Term, v: Tensor, weight: Tensor) -> Tensor:
        result = torch.zeros_like(self.log_s)
        for part, w in zip(v.split(self.step, -1), weight.split(self.step, -1), strict=True):
            result += (self._own(g, part) * self._of_own_subset(w)).sum(-1)
        return result

    def _own(self, g: Term, v: Tensor) -> Tensor:
        center, time = _centered(v, self.log_s.dtype)
        log_rate = self.log_s.unsqueeze(-1) + self._of_own_subset(center)
        return g(log_rate.to(self.log_s.dtype), self._of_own_subset(time))

    def _of_own_subset(self, x: Tensor) -> Tensor:
        """Shape ``(*batch, K, q)`` to ``(*batch, n, q)``."""
        # Whole rows, many times as fast as gather.
        return x.flatten(0, -2).index_select(0, self.row).view(*self.log_s.shape, x.shape[-1])


def _members(log_s: Tensor, Y: Tensor, subset: Tensor | None) -> _Members:
    return _Members(log_s, Y) if subset is None else _OwnMembers(log_s, Y, subset)


def _outer(g: Term, log_s: Tensor, v: Tensor) -> Tensor:
    """``g(log s_i + v_q)`` for the nodes of one subset, shape ``(*batch, n, nodes)``."""
    center, time = _centered(v, log_s.dtype)
    log_rate = (log_s + center).to(log_s.dtype)
    return g(log_rate.unsqueeze(-1), time.unsqueeze(-2))


def _centered(v: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The center of the nodes, and the times ``exp(v)`` of the nodes measured from it."""
    center = (v[..., :1] + v[..., -1:]) / 2
    return center, (v - center).to(dtype).exp()


def _log_hit(log_rate: Tensor, time: Tensor) -> Tensor:
    """``log(1 - exp(-x))``, the log-probability that a clock has rung, ``x`` rate times time."""
    result: Tensor = _LogHit.apply(log_rate, time)
    return result


class _LogHit(torch.autograd.Function):
    """Spares the passes over memory that autograd would need."""

    @staticmethod
    def forward(ctx: Any, log_rate: Tensor, time: Tensor) -> Tensor:
        ctx.save_for_backward(log_rate, time)
        inside = log_rate.clamp(-_REACH, _REACH)
        x = time * inside.exp().neg_()
        below = (log_rate - inside).clamp_(max=0)
        return x.expm1_().neg_().log_().add_(below)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        log_rate, time = ctx.saved_tensors  # the nodes are constants
        return (grads[0] * _log_hit_slope(log_rate, time)).sum_to_size(log_rate.shape), None


def _log_hit_slope(log_rate: Tensor, time: Tensor) -> Tensor:
    """The derivative of ``log(1 - exp(-x))`` with respect to ``log x``: ``x / (e^x - 1)``."""
    x = (time * log_rate.clamp(-_REACH, _REACH).exp()).clamp(max=_LARGE)
    return x / torch.expm1(x)


def _log_integrand(members: _Members, log_rest: Tensor, v: Tensor) -> Tensor:
    log_time = log_rest.unsqueeze(-1) + v
    return log_time - log_time.exp() + members.total(_log_hit, v)


def _edges(members: _Members, log_rest: Tensor, drop: float) -> tuple[Tensor, Tensor]:
    """Points on either side of the mode where the log-integrand has dropped by that many nats.

    At the mode ``R e^v = 1 + sum_i y_i x_i / (e^{x_i} - 1) = peak``, so the log-integrand drops at
    least by ``peak (d - 1 + e^-d)`` at distance ``d`` to the left and ``peak (e^d - 1 - d)`` to the
    right. Newton's method solves both for the distance, from outside.
    """
    log_peak = _log_peak(members, log_rest)
    per_peak = drop * (-log_peak).exp()
    left = per_peak + 1
    right = torch.minimum((2 * per_peak).sqrt(), per_peak.log1p() + 1)
    for _ in range(_EDGE_STEPS):
        left = left - (left - 1 + (-left).exp() - per_peak) / -torch.expm1(-left)
        right = right - (torch.expm1(right) - right - per_peak) / torch.expm1(right)
    mode = log_peak - log_rest
    return mode - left, mode + right


def _log_peak(members: _Members, log_rest: Tensor) -> Tensor:
    """Root of ``log(1 + sum_i y_i x_i / (e^{x_i} - 1)) - u`` at ``x_i = s_i e^u / R``.

    It falls from above to below zero on ``[0, log(1 + sum_i y_i)]``; found by the Illinois variant
    of the false position.
    """

    def residual(u: Tensor) -> Tensor:
        v = (u - log_rest).unsqueeze(-1)
        return members.total(_log_hit_slope, v).squeeze(-1).log1p() - u

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
