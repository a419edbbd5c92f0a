# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

r"""Probabilities that all members of a subset come before the rest.

.. math::
    I_k = \int_0^\infty R_k e^{-R_k t} \prod_i (1 - e^{-s_{ki} t})^{y_{ki}} \, dt

in logarithms, sums over the nodes of :mod:`pyro_drpm.ops.assignment.quadrature`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_drpm.ops.assignment.clocks import log_rung
from pyro_drpm.ops.assignment.members import Members, OwnMembers
from pyro_drpm.ops.assignment.quadrature import Quadrature, nodes_of
from pyro_drpm.ops.assignment.subset_sums import SubsetSums
from pyro_drpm.ops.second_order import differentiable_gradients
from pyro_drpm.ops.transforms import transformed

__all__ = ["log_integrals"]

# What it takes to reach the precision of the dtype, in which the integrand's terms are evaluated.
_QUADRATURE = {torch.float64: Quadrature(80, 34.0), torch.float32: Quadrature(24, 15.0)}


def log_integrals(
    log_s: Tensor, Y: Tensor | None, log_rest: Tensor, subset: Tensor | None
) -> Tensor:
    """``log I_k``, differentiable twice and more, in the scores also without ``Y``.

    Args:
        log_s: Log-scores. Rows that broadcast with those of all subsets but the last, shape
            ``(*batch, 1 or K - 1, n)``; if the subsets are known, each element's own in its subset,
            shape ``(*batch, n)``.
        Y: Partition matrix, shape ``(*batch, K, n)``; may be left out if the subsets are known.
        log_rest: ``log R_k``, shape ``(*batch, K - 1)``, ``-inf`` where the rest is empty.
        subset: Of each element, shape ``(*batch, n)``; ``K - 1`` for those that are in none of the
            subsets that have an integral.

    Returns:
        Float64, shape ``(*batch, K - 1)``; 0 where the subset or the rest is empty.
    """
    members = _members_of(log_s.detach(), Y, log_rest.shape[-1], subset)
    active = (members.count > 0) & log_rest.isfinite()
    log_rest = torch.where(active, log_rest, 0.0)
    v, log_step = nodes_of(members, log_rest.detach(), _QUADRATURE[log_s.dtype])
    v, log_step = v.detach(), log_step.detach()  # a traced graph would go back through them
    if transformed():
        log_integral = _log_sum(log_s, Y, log_rest, v=v, log_step=log_step, subset=subset)
    else:
        log_integral = _LogSumIntegrand.apply(log_s, Y, log_rest, v, log_step, subset)
    return torch.where(active, log_integral, 0.0)


def _members_of(
    log_s: Tensor, Y: Tensor | None, num_subsets: int, subset: Tensor | None
) -> Members:
    if subset is not None:
        return OwnMembers(log_s, subset, num_subsets)
    assert Y is not None  # there is nothing else to tell who is a member
    return Members(log_s, Y.detach())


class _LogSumIntegrand(torch.autograd.Function):
    """``log sum_q f(v_kq) step_kq``, shape ``(*batch, K - 1)``.

    The nodes are constants: the gradient through the integrand is exact up to quadrature error. It
    is computed at once, from the same exponentials, and nothing of size ``K n nodes`` is kept.
    """

    @staticmethod
    def forward(
        ctx: Any,
        log_s: Tensor,
        Y: Tensor | None,
        log_rest: Tensor,
        v: Tensor,
        log_step: Tensor,
        subset: Tensor | None,
    ) -> Tensor:
        log_time = log_rest.unsqueeze(-1) + v
        time = log_time.exp()
        members = _members_of(log_s, Y, log_rest.shape[-1], subset)
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
            log_sum = partial(_log_sum, v=v, log_step=log_step, subset=subset)
            found = differentiable_gradients(log_sum, (log_s, Y, log_rest), grads[0])
            return *found, None, None, None
        grad = grads[0].to(log_s.dtype)
        grad_s = None
        if by_log_s is not None and subset is not None:
            grad_s = F.pad(grad, (0, 1)).gather(-1, subset) * by_log_s
        elif by_log_s is not None:
            grad_s = (Y[..., :-1, :] * grad.unsqueeze(-1) * by_log_s).sum_to_size(log_s.shape)
        grad_Y = None if by_Y is None else F.pad(grad.unsqueeze(-1) * by_Y, (0, 0, 0, 1))
        return grad_s, grad_Y, grads[0] * by_log_rest, None, None, None


def _log_sum(
    log_s: Tensor,
    Y: Tensor | None,
    log_rest: Tensor,
    *,
    v: Tensor,
    log_step: Tensor,
    subset: Tensor | None,
) -> Tensor:
    """The same of differentiable operations, for derivatives of derivatives and transforms."""
    log_time = log_rest.unsqueeze(-1) + v
    if Y is None and subset is not None:
        of_members = _log_rung_of_own(log_s, v, subset)
    else:
        assert Y is not None  # there is nothing else to tell who is a member
        rows = log_s if subset is None else log_s.unsqueeze(-2)
        log_x = rows.double().unsqueeze(-1) + v.unsqueeze(-2)
        of_members = (Y[..., :-1, :].unsqueeze(-1) * log_rung(log_x)).sum(-2)
    return (log_time - log_time.exp() + log_step + of_members).logsumexp(-1)


def _log_rung_of_own(log_s: Tensor, v: Tensor, subset: Tensor) -> Tensor:
    """Sums over the members of each subset at its nodes, shape ``(*batch, K - 1, nodes)``."""
    subsets = SubsetSums(subset, v.shape[-2] + 1)
    v = F.pad(v, (0, 0, 0, 1))
    log_x = log_s.double().flatten().unsqueeze(-1) + v.flatten(0, -2).index_select(0, subsets.row)
    sums = v.new_zeros(subsets.shape.numel(), v.shape[-1])
    return subsets.joined(sums.index_add(0, subsets.place, log_rung(log_x)))[..., :-1, :]
