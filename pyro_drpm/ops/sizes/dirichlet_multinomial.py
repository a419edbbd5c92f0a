# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

r"""Exact tables of the Dirichlet-multinomial law of the sizes.

With concentrations :math:`\alpha_k` the mass is proportional to
:math:`\prod_k \Gamma(n_k + \alpha_k) / (\Gamma(\alpha_k) \, n_k!)`: the law of independent negative
binomial counts, given that they add up to :math:`n`. Their sums are negative binomial, with the sum
of the concentrations, so that nothing has to be convolved.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_drpm.ops.sizes.tables import SizeTables

__all__ = [
    "dirichlet_multinomial_tables",
    "log_dirichlet_multinomial_normalizer",
    "log_rising_power",
]


def log_rising_power(concentration: Tensor, count: Tensor) -> Tensor:
    """``log Gamma(x + a) - log Gamma(a) - log x!`` of float64 tensors that broadcast."""
    ratio = torch.lgamma(count + concentration) - torch.lgamma(concentration)
    return ratio - torch.lgamma(count + 1)


def log_dirichlet_multinomial_normalizer(concentration: Tensor, total: int) -> Tensor:
    """``log P_0``, the sum of all products; shape ``(*batch,)``, float64."""
    everything = concentration.double().sum(-1)
    return log_rising_power(everything, everything.new_full((), total))


def dirichlet_multinomial_tables(concentration: Tensor, total: int) -> SizeTables:
    """Builds the tables, ``O(K n)``.

    Args:
        concentration: Positive, shape ``(*batch, K)``; computed with in float64.
        total: Number ``n`` of elements.
    """
    concentration = concentration.double()
    of_rest = concentration.flip(-1).cumsum(-1).flip(-1)
    everything = of_rest[..., :1]
    # Success probabilities with which the counts add up to n on average; any give the same law.
    log_success = -(everything.detach() / total).log1p()
    log_failure = -(total / everything.detach()).log1p()
    counts = torch.arange(total + 1, device=concentration.device).double()

    def law(a: Tensor) -> Tensor:
        log_tilt = counts * log_success.unsqueeze(-1) + (a * log_failure).unsqueeze(-1)
        return (log_rising_power(a.unsqueeze(-1), counts) + log_tilt).exp()

    log_scale = -(everything * log_failure).squeeze(-1) - total * log_success.squeeze(-1)
    return SizeTables.of_all_counts(total, law(concentration), law(of_rest), log_scale)
