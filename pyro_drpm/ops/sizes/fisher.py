# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

r"""Exact tables of Fisher's multivariate noncentral hypergeometric distribution.

The mass of counts :math:`n_0, \dots, n_{K-1}` with total :math:`n` is
:math:`\prod_k \binom{m_k}{n_k} \omega_k^{n_k} / P_0`. Multiplying every weight by the same
:math:`e^\theta` leaves it alone, because the total is fixed. With :math:`\theta` such that the
means of the independent binomials behind the weights,
:math:`B_k \sim \mathrm{Bin}(m_k, \sigma(\log \omega_k + \theta))`, add up to :math:`n`,
the distribution is that of :math:`B` given :math:`\sum_k B_k = n`, an event of probability of
order :math:`n^{-1/2}` at least. So plain probabilities can be convolved without logarithms:
every term is positive (no cancellation), and what underflows is below :math:`10^{-300}` of the
whole. This holds for weights of any scale.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_drpm.ops.sizes.log_binomial import log_binomial
from pyro_drpm.ops.sizes.partial_sums import partial_sums
from pyro_drpm.ops.sizes.tables import SizeTables
from pyro_drpm.ops.sizes.tilt import tilt
from pyro_drpm.ops.sizes.windows import windows_around

__all__ = ["fisher_tables"]


def fisher_tables(log_omega: Tensor, capacities: Tensor, total: int) -> SizeTables:
    """Builds the tables, ``O(K w^2)`` with ``w`` the smaller of ``n + 1`` and ``O(sqrt n)``.

    Args:
        log_omega: Log-weights, shape ``(*batch, K)``; computed with in float64.
        capacities: Integers ``m_k``, shape ``(*batch, K)`` or broadcastable.
        total: Number ``n`` of elements; the capacities must add up to at least that.
    """
    shape = torch.broadcast_shapes(log_omega.shape, capacities.shape)
    log_omega = log_omega.double().expand(shape)
    shift = tilt(log_omega, capacities, total)
    log_odds = log_omega + shift.unsqueeze(-1)
    return _tables(log_odds.detach(), shift, capacities, total).with_gradients(log_odds)


@torch.no_grad()
def _tables(log_odds: Tensor, shift: Tensor, capacities: Tensor, total: int) -> SizeTables:
    softplus = torch.nn.functional.softplus(log_odds)
    mean_of_rest = (capacities * log_odds.sigmoid()).flip(-1).cumsum(-1).flip(-1)
    windows = windows_around(mean_of_rest, total)

    x = windows.counts
    possible = (x >= 0) & (x <= capacities.unsqueeze(-1))
    x = torch.where(possible, x, 0)
    log_mass = log_binomial(capacities.unsqueeze(-1).double(), x.double())
    log_mass = log_mass + x * log_odds.unsqueeze(-1) - (capacities * softplus).unsqueeze(-1)
    mass = windows.probabilities(log_mass, possible)

    rest = partial_sums(mass, windows.offset)
    log_scale = (capacities * softplus).sum(-1) - total * shift
    return SizeTables(
        total=total,
        mass=mass,
        mass_start=windows.mass_start,
        rest=rest,
        rest_start=windows.rest_start,
        offset=windows.offset,
        log_scale=log_scale,
        log_odds=log_odds,
    )
