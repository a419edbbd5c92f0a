# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

r"""Exact tables of the multinomial law of the sizes.

The mass is proportional to :math:`\prod_k \omega_k^{n_k} / n_k!`: the law of independent Poisson
counts with means :math:`\lambda_k = n \omega_k / \sum_l \omega_l`, given that they add up to
:math:`n`. Sums of Poisson counts are Poisson counts, so that nothing has to be convolved.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pyro_drpm.ops.sizes.tables import SizeTables
from pyro_drpm.ops.sizes.windows import Windows, windows_around

__all__ = ["log_multinomial_normalizer", "multinomial_tables"]


def log_multinomial_normalizer(log_omega: Tensor, total: int) -> Tensor:
    r"""``log P_0``, the sum of all ``prod_k omega_k^n_k / n_k!``; shape ``(*batch,)``, float64."""
    return total * log_omega.double().logsumexp(-1) - math.lgamma(total + 1)


def multinomial_tables(log_omega: Tensor, total: int) -> SizeTables:
    """Builds the tables, ``O(K w)`` with ``w`` the smaller of ``n + 1`` and ``O(sqrt n)``.

    Args:
        log_omega: Log-weights, shape ``(*batch, K)``; computed with in float64.
        total: Number ``n`` of elements.
    """
    log_omega = log_omega.double()
    with torch.no_grad():
        shift = math.log(total) - log_omega.logsumexp(-1)
        log_mean = log_omega + shift.unsqueeze(-1)
        log_mean_of_rest = log_mean.flip(-1).logcumsumexp(-1).flip(-1)
        windows = windows_around(log_mean_of_rest.exp(), total)
        log_scale = total * (1 - shift)
        place = torch.arange(windows.counts.shape[-1], device=log_omega.device)
        rest_counts = windows.rest_start.unsqueeze(-1) + place
        tables = SizeTables(
            total=total,
            mass=_poisson(log_mean, windows.counts, windows),
            mass_start=windows.mass_start,
            rest=_poisson(log_mean_of_rest, rest_counts, windows),
            rest_start=windows.rest_start,
            offset=windows.offset,
            log_scale=log_scale,
            log_odds=log_mean,
        )
    return tables.with_gradients(log_omega + shift.unsqueeze(-1))


def _poisson(log_mean: Tensor, counts: Tensor, windows: Windows) -> Tensor:
    """Probabilities of counts ``(*batch, K, w)``, 0 where they are negative."""
    x = counts.clamp(min=0).double()
    log_mean = log_mean.unsqueeze(-1)
    log_prob = x * log_mean - log_mean.exp() - torch.lgamma(x + 1)
    return windows.probabilities(log_prob, counts >= 0)
