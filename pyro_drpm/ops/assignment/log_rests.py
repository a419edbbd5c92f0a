# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

r"""Logarithms of what is left over, ``R_k``, the sum of the scores behind each subset.

Where every element is in one subset, each is looked at once. With :math:`g_k` the gradient of
:math:`\log R_k`,

.. math::
    \frac{\partial}{\partial y_{li}} = \sum_{k < l} g_k \frac{s_i}{R_k}
    = \frac{s_i}{R_{l-1}} \, c_l, \qquad
    c_l = \sum_{k < l} g_k \frac{R_{l-1}}{R_k},

where no ratio of two :math:`R` exceeds 1; :math:`\log s_i` has the gradient of its own subset.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_drpm.ops.assignment.subset_sums import SubsetSums
from pyro_drpm.ops.second_order import differentiable_gradients
from pyro_drpm.ops.transforms import transformed

__all__ = ["log_rests", "log_rests_of_rows"]

# The gradient for an entry of Y is s_i / R_k also where element i is not in the rest. If its score
# is far above the rest, this would overflow in float32; so log(s_i / R_k) is cut off here.
_MAX_LOG = 80.0
# Stands for log R_k of an empty rest. It is larger than any other, so that exp(x - _NONE) is 0.
_NONE = 1e300


def log_rests(log_s: Tensor, Y: Tensor, subset: Tensor | None) -> Tensor:
    """``log R_k`` for all subsets but the last.

    Args:
        log_s: Log-scores, shape ``(*batch, n)``.
        Y: Partition matrix, shape ``(*batch, K, n)``, entries in [0, 1].
        subset: The subset of each element if the columns of ``Y`` are one-hot, ``K`` where they are
            zero, shape ``(*batch, n)``; else none, which takes ``K`` times as long.

    Returns:
        Shape ``(*batch, K - 1)``, float64; ``-inf`` where the rest is empty. Any number of times
        differentiable.
    """
    if subset is None or transformed():
        return log_rests_of_rows(log_s.unsqueeze(-2), Y)
    result: Tensor = _OfSubsets.apply(log_s, Y, subset)
    return result


def log_rests_of_rows(log_s: Tensor, Y: Tensor) -> Tensor:
    """The same with scores of their own for every subset.

    Args:
        log_s: Log-scores, shape ``(*batch, K - 1, n)``, or ``(*batch, 1, n)`` for all subsets.
        Y: As for :func:`log_rests`.
    """
    later = Y.double()[..., 1:, :].flip(-2).cumsum(-2).flip(-2)
    log_s = log_s.double()
    present = later.detach() > 0
    top = log_s.detach().masked_fill(~present, -math.inf).amax(-1, keepdim=True)
    top = torch.where(top.isfinite(), top, 0.0)
    weight = (log_s - top).clamp(max=_MAX_LOG).exp() * later
    total = weight.sum(-1)
    empty = ~present.any(-1)
    log_total = torch.where(empty, 1.0, total).log()
    return torch.where(empty, -math.inf, log_total + top.squeeze(-1))


def _of_scores(log_s: Tensor, Y: Tensor) -> Tensor:
    return log_rests_of_rows(log_s.unsqueeze(-2), Y)


class _OfSubsets(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, log_s: Tensor, Y: Tensor, subset: Tensor) -> Tensor:
        scores = log_s.double()
        # One subset more for those who are absent.
        subsets = SubsetSums(subset, Y.shape[-2] + 1)
        top = subsets.largest(scores)
        top = torch.where(top.isfinite(), top, 0.0)
        weight = (scores - top.gather(-1, subset)).exp()
        log_total = (subsets.total(weight).log() + top)[..., 1:-1]
        result = log_total.flip(-1).logcumsumexp(-1).flip(-1)
        ctx.save_for_backward(log_s, Y, subset, result)
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        log_s, Y, subset, result = ctx.saved_tensors
        if torch.is_grad_enabled():  # a derivative of the derivative is wanted
            return *differentiable_gradients(_of_scores, (log_s, Y), grads[0]), None
        # In these tensors subset l is at place l - 1. The first subset is in no rest.
        log_rest = torch.where(result.isfinite(), result, _NONE).cummin(-1).values
        ratio = (log_rest.unsqueeze(-1) - log_rest.unsqueeze(-2)).exp().tril()
        c = (ratio @ grads[0].unsqueeze(-1)).squeeze(-1)
        grad_s = grad_Y = None
        if ctx.needs_input_grad[0]:
            log_rest_of_own, c_of_own = (
                F.pad(x, (1, 1), value=value).gather(-1, subset)
                for x, value in ((log_rest, _NONE), (c, 0.0))
            )
            grad_s = ((log_s - log_rest_of_own).exp() * c_of_own).to(log_s.dtype)
        if ctx.needs_input_grad[1]:
            log_share = (log_s.unsqueeze(-2) - log_rest.unsqueeze(-1)).clamp_(max=_MAX_LOG)
            grad_Y = F.pad((log_share.exp_() * c.unsqueeze(-1)).to(Y.dtype), (0, 0, 1, 0))
        return grad_s, grad_Y, None
