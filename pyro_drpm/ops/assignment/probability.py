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

This was found by DeLong, Guirguis and So (Biometrika 81, 1994) for ties in Cox regression and by Ma
et al. (arXiv 2006.05067) for rankings.

The formula continues the probability to matrices :math:`Y` with entries in :math:`[0, 1]`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_drpm.ops.assignment.integrals import log_integrals
from pyro_drpm.ops.assignment.log_rests import log_rests, log_rests_of_rows
from pyro_drpm.ops.assignment.orderings import are_equal
from pyro_drpm.ops.labels import subset_of_each
from pyro_drpm.ops.overrides import overridable
from pyro_drpm.ops.precision import full_precision
from pyro_drpm.ops.transforms import transformed

__all__ = ["log_assignment_probability", "log_subset_assignment_probability"]


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
        sizes = Y.sum(-1).double()
        return torch.lgamma(sizes + 1).sum(-1) - torch.lgamma(sizes.sum(-1) + 1)
    if Y.shape[-2] == 1:  # certain, with gradients of zero
        return 0.0 * (log_s * Y.squeeze(-2)).sum(-1).double()
    # Of two subsets only the first has an integral: all elements meet its nodes without looking up
    # whose they meet.
    look_up = hard and Y.shape[-2] > 2 and not transformed()
    subset = subset_of_each(Y) if look_up else None
    log_rest = log_rests(log_s, Y, subset)
    if subset is None:
        return log_integrals(log_s.unsqueeze(-2), Y, log_rest, None).sum(-1)
    return _of_own(log_s, Y, log_rest, subset)


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
        return log_integrals(rows, Y, log_rest, None).sum(-1)
    subset = subset_of_each(Y)
    own = log_s.gather(-2, subset.clamp(max=shape[-2] - 1).unsqueeze(-2)).squeeze(-2)
    return _of_own(own, Y, log_rest, subset)


def _of_own(log_s: Tensor, Y: Tensor, log_rest: Tensor, subset: Tensor) -> Tensor:
    """The sum of the integrals, of which an element meets that of its own subset only."""
    # The last subset has no integral, as those have none who are absent.
    subset = subset.clamp(max=log_rest.shape[-1])
    return log_integrals(log_s, Y if Y.requires_grad else None, log_rest, subset).sum(-1)
