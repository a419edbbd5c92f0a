# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

r"""The exact probability of a partition given its sizes, under a Plackett-Luce ordering.

Elements that ring at the times of independent exponential clocks with rates :math:`s_i` ring in
Plackett-Luce order. The elements of subset :math:`k` come before all of the later subsets with
probability

.. math::
    I_k = \int_0^\infty R_k e^{-R_k t} \prod_i (1 - e^{-s_i t})^{y_{ki}} \, dt, \qquad
    R_k = \sum_i s_i \sum_{l > k} y_{li},

and by Luce's choice axiom :math:`p(Y \mid n_1, \dots, n_K) = \prod_k I_k`. The integrals are sums
over the nodes of :mod:`pyro_drpm.ops.assignment.quadrature`.

The formula continues the probability to matrices :math:`Y` with entries in :math:`[0, 1]`.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_drpm.ops.assignment.clocks import log_rung
from pyro_drpm.ops.assignment.log_rests import log_rests
from pyro_drpm.ops.assignment.members import members_of
from pyro_drpm.ops.assignment.orderings import are_equal
from pyro_drpm.ops.assignment.quadrature import Quadrature, nodes_of
from pyro_drpm.ops.labels import subset_of_each
from pyro_drpm.ops.overrides import overridable
from pyro_drpm.ops.precision import full_precision
from pyro_drpm.ops.second_order import differentiable_gradients
from pyro_drpm.ops.transforms import transformed

__all__ = ["log_assignment_probability"]

# What it takes to reach the precision of the dtype, in which the integrand's terms are evaluated.
_QUADRATURE = {torch.float64: Quadrature(80, 34.0), torch.float32: Quadrature(24, 15.0)}


@overridable
@full_precision
def log_assignment_probability(log_s: Tensor, Y: Tensor, *, hard: bool) -> Tensor:
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
    members = members_of(log_s.detach(), Y.detach(), subset)
    v, log_step = nodes_of(members, log_rest.detach(), quadrature)
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
        members = members_of(log_s, Y, subset)
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
    of_members = (Y[..., :-1, :].unsqueeze(-1) * log_rung(log_x)).sum(-2)
    return (log_time - log_time.exp() + log_step + of_members).logsumexp(-1)
