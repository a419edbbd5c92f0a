# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

r"""Exact tables of the sizes of a Chinese restaurant with a limited number of tables.

The non-empty subsets come first, in random order. Theirs is the mass

.. math::
    p(n_1, \dots, n_k, 0, \dots, 0) \propto \prod_{j = 1}^k f_j(n_j), \qquad
    f_j(x) = \frac{\theta_j}{j} \, \frac{\Gamma(x - d)}{\Gamma(1 - d) \, x!} \quad (x \ge 1), \qquad
    \theta_1 = 1, \; \theta_j = \theta + (j - 1) d ,

with strength :math:`\theta` and discount :math:`d`: Pitman-Yor's exchangeable partition
probability function times the number :math:`n! / (k! \prod_j n_j!)` of partitions with these sizes
in this order. Given what earlier subsets leave over, it is of product form, but that a subset is
empty if and only if nothing is left.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_drpm.ops.convolution import convolve
from pyro_drpm.ops.sizes.tables import SizeTables

__all__ = ["NonEmptyFirst", "log_pitman_yor_factors", "pitman_yor_tables"]


class NonEmptyFirst(SizeTables):
    """Tables of a law in which a subset is empty if and only if nothing is left for it.

    The first column of ``mass`` is 0; ``rest`` is 1 for nothing.
    """

    def joint(self, subsets: int | slice, remaining: Tensor) -> Tensor:
        """As for other tables, but what is not possible otherwise is certain for nothing."""
        joint = super().joint(subsets, remaining)
        nothing = (remaining == 0).to(joint).unsqueeze(-1)
        return torch.cat([nothing.expand_as(joint[..., :1]), joint[..., 1:]], -1)

    def normalized(self, marginals: Tensor) -> Tensor:
        """Of the first subset's law, which is not empty, follows the factor of all others."""
        prob = marginals / marginals[..., :1, :].sum(-1, keepdim=True)
        empty = 1 - prob[..., 1:].sum(-1, keepdim=True)
        return torch.cat([empty, prob[..., 1:]], -1)


def log_pitman_yor_factors(strength: Tensor, discount: Tensor, counts: Tensor) -> Tensor:
    """``log f_k`` of counts ``(*batch, K, w)`` that broadcast; 0 for a count of 0.

    Args:
        strength: Shape ``(*batch,)``, float64.
        discount: Likewise.
        counts: Not negative, float64.
    """
    strength, discount = strength[..., None, None], discount[..., None, None]
    k = torch.arange(counts.shape[-2], device=counts.device).double().unsqueeze(-1)
    first = k == 0
    log_open = torch.where(first, 0.0, torch.where(first, 1.0, strength + k * discount).log())
    x = counts.clamp(min=1)
    log_ways = torch.lgamma(x - discount) - torch.lgamma(1 - discount) - torch.lgamma(x + 1)
    return torch.where(counts > 0.5, log_open - (k + 1).log() + log_ways, 0.0)


def pitman_yor_tables(log_factors: Tensor, total: int) -> SizeTables:
    """Builds the tables, ``O(K n^2)``.

    Args:
        log_factors: Those of counts from 0 to ``n``, shape ``(*batch, K, n + 1)``.
        total: Number ``n`` of elements.
    """
    counts = torch.arange(total + 1, device=log_factors.device)
    # Factors of a great strength would overflow; the first subset has none.
    log_tops = F.pad(log_factors.detach()[..., 1:, 1:].amax(-1).clamp(min=0), (1, 0))
    mass = (log_factors - log_tops.unsqueeze(-1)).exp() * (counts > 0)
    # Whoever stops before a subset is not divided by its factor and those of the later ones.
    log_nothing = -log_tops.flip(-1).cumsum(-1).flip(-1)
    nothing = log_nothing.exp().unsqueeze(-1) * (counts == 0)
    rests = [(counts == 0).to(mass).expand_as(mass[..., 0, :])]
    for law, stopped in zip(mass.unbind(-2)[:0:-1], nothing.unbind(-2)[:0:-1], strict=True):
        rests.append(stopped + convolve(law, rests[-1], 0, total + 1))
    rest = torch.stack([torch.zeros_like(rests[0]), *rests[:0:-1]], -2)
    return NonEmptyFirst.of_all_counts(total, mass, rest, log_scale=log_tops.sum(-1))
