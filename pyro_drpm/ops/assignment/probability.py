# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

r"""The exact probability of a partition given its sizes, under a Plackett-Luce ordering.

Elements that ring at the times of independent exponential clocks with rates :math:`s_i` ring in
Plackett-Luce order. The elements of subset :math:`k` come before all of the later subsets with
probability

.. math::
    I_k = \int_0^\infty R_k e^{-R_k t} \prod_i (1 - e^{-s_i t})^{y_{ki}} \, dt, \qquad
    R_k = \sum_i s_i \sum_{l > k} y_{li},

and by Luce's choice axiom :math:`p(Y \mid n_0, \dots, n_{K-1}) = \prod_k I_k`. The integrals are
sums over the nodes of :mod:`pyro_drpm.ops.assignment.quadrature`.

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
from pyro_drpm.ops.assignment.log_rests import log_rests, log_rests_of_rows
from pyro_drpm.ops.assignment.members import members_of
from pyro_drpm.ops.assignment.orderings import are_equal
from pyro_drpm.ops.assignment.quadrature import Quadrature, nodes_of
from pyro_drpm.ops.labels import subset_of_each
from pyro_drpm.ops.overrides import overridable
from pyro_drpm.ops.precision import full_precision
from pyro_drpm.ops.second_order import differentiable_gradients
from pyro_drpm.ops.transforms import transformed

__all__ = ["log_assignment_probability", "log_subset_assignment_probability"]

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
    return _sum_of_integrals(log_s if look_up else log_s.unsqueeze(-2), Y, log_rest, subset)


@overridable
@full_precision
def log_subset_assignment_probability(log_s: Tensor, Y: Tensor, *, hard: bool) -> Tensor:
    r"""``log p(Y | sizes)`` with a score for every subset and element.

    Subset ``k`` takes its elements from those that the earlier ones have left, by a Plackett-Luce
    law with the scores :math:`s_{ki}`, so that the integrals and the rests have the scores of row
    ``k``. Equal rows give :func:`log_assignment_probability`; the last row has no effect.

    Args:
        log_s: Log-scores, shape ``(*batch, K, n)``, float32 or float64.
        Y: Partition matrix, shape ``(*batch, K, n)``, entries in [0, 1].
        hard: Whether the columns of ``Y`` are one-hot; then the cost is ``O(n nodes + K n)``, but
            for the gradient with respect to ``Y``.

    Returns:
        Shape ``(*batch,)``, float64.
    """
    if not torch.is_grad_enabled():
        log_s, Y = log_s.detach(), Y.detach()
    shape = torch.broadcast_shapes(log_s.shape, Y.shape)
    log_s, Y = log_s.expand(shape), Y.expand(shape)
    if shape[-2] == 1:  # certain, with gradients of zero
        return 0.0 * (log_s * Y).sum((-2, -1)).double()
    rows = log_s[..., :-1, :]
    log_rest = log_rests_of_rows(rows, Y)
    if not hard or shape[-2] == 2 or transformed() or Y.requires_grad:
        return _sum_of_integrals(rows, Y, log_rest, None)
    subset = subset_of_each(Y)
    own = log_s.gather(-2, subset.unsqueeze(-2)).squeeze(-2)
    return _sum_of_integrals(own, Y, log_rest, subset)


def _sum_of_integrals(log_s: Tensor, Y: Tensor, log_rest: Tensor, subset: Tensor | None) -> Tensor:
    """``sum_k log I_k``; scores as for :func:`~pyro_drpm.ops.assignment.members.members_of`."""
    # Else the subset or the rest is empty, and I_k = 1. The last subset has no rest.
    active = (Y[..., :-1, :].sum(-1) > 0) & log_rest.isfinite()
    log_rest = torch.where(active, log_rest, 0.0)
    members = members_of(log_s.detach(), Y.detach(), subset)
    v, log_step = nodes_of(members, log_rest.detach(), _QUADRATURE[log_s.dtype])
    v, log_step = v.detach(), log_step.detach()  # a traced graph would go back through them
    if transformed():
        log_integral = _log_sum(log_s, Y, log_rest, v=v, log_step=log_step, subset=subset)
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
        ctx.save_for_backward(log_s, Y, log_rest, v, log_step, subset, *slopes)
        return integrals.log_sum

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        log_s, Y, log_rest, v, log_step, subset, *slopes = ctx.saved_tensors
        by_log_rest, by_log_s, by_Y = slopes
        if torch.is_grad_enabled():  # a derivative of the derivative is wanted
            inputs = (log_s, Y, log_rest)
            log_sum = partial(_log_sum, v=v, log_step=log_step, subset=subset)
            return *differentiable_gradients(log_sum, inputs, grads[0]), None, None, None
        grad = grads[0].unsqueeze(-1).to(log_s.dtype)
        grad_s = None if by_log_s is None else Y[..., :-1, :] * grad * by_log_s
        if grad_s is not None:  # an element is in one subset, or all have the same scores
            own = subset is not None
            grad_s = grad_s.sum(-2) if own else grad_s.sum_to_size(log_s.shape)
        grad_Y = None if by_Y is None else F.pad(grad * by_Y, (0, 0, 0, 1))
        return grad_s, grad_Y, grads[0] * by_log_rest, None, None, None


def _log_sum(
    log_s: Tensor,
    Y: Tensor,
    log_rest: Tensor,
    *,
    v: Tensor,
    log_step: Tensor,
    subset: Tensor | None,
) -> Tensor:
    """The same of differentiable operations, for derivatives of derivatives and transforms."""
    log_time = log_rest.unsqueeze(-1) + v
    rows = log_s if subset is None else log_s.unsqueeze(-2)
    log_x = rows.double().unsqueeze(-1) + v.unsqueeze(-2)
    of_members = (Y[..., :-1, :].unsqueeze(-1) * log_rung(log_x)).sum(-2)
    return (log_time - log_time.exp() + log_step + of_members).logsumexp(-1)
