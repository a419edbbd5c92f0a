# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

r"""The most probable partition.

Given the sizes it has the elements in the order of their scores: where an element of a later
subset has a higher score than one of an earlier subset, an exchange makes the partition more
probable. So what is left to choose are the boundaries :math:`c_1 \le \dots \le c_{K - 1}` between
elements in this order, and the log-mass is a sum of terms of two boundaries each,

.. math:: \sum_k \log f_k(c_k - c_{k - 1}) + \log I(c_{k - 1}, c_k) ,

with :math:`I(a, b)` the probability that the elements from rank :math:`a` to :math:`b` come before
all behind them. Dynamic programming finds the best, with :math:`O(n^2)` integrals.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_drpm.ops.assignment.probability import log_assignment_probability

__all__ = ["most_probable_partition"]


@torch.no_grad()
def most_probable_partition(log_s: Tensor, log_potential: Tensor, empty_last: bool) -> Tensor:
    """The partition with the largest mass.

    Args:
        log_s: Log-scores, shape ``(*batch, n)``.
        log_potential: ``log f_k`` of counts from 0 to ``n``, shape ``(*batch, K, n + 1)``.
        empty_last: Whether subsets are empty if and only if nothing is left over for them.

    Returns:
        Integers 0 and 1, shape ``(*batch, K, n)``.
    """
    ordered, order = log_s.detach().sort(dim=-1, descending=True, stable=True)
    counts = _sizes(ordered, log_potential.detach(), empty_last)
    rank = torch.arange(log_s.shape[-1], device=log_s.device)
    subset = (rank.unsqueeze(-1) >= counts.cumsum(-1).unsqueeze(-2)).sum(-1)
    labels = torch.zeros_like(subset).scatter(-1, order.expand_as(subset), subset)
    return F.one_hot(labels, counts.shape[-1]).mT


def _sizes(log_s: Tensor, log_potential: Tensor, empty_last: bool) -> Tensor:
    """Sizes of the most probable partition, for scores in falling order."""
    n = log_s.shape[-1]
    places = torch.arange(n + 1, device=log_s.device)
    counts = places - places.unsqueeze(-1)  # from a boundary to the next one
    log_integrals = _log_integrals(log_s)
    steps = log_potential[..., counts.clamp(min=0)] + log_integrals.unsqueeze(-3)
    possible = counts >= 0
    if empty_last:
        possible = possible & ((counts > 0) | (places == n).unsqueeze(-1))
        finished = (places == n).unsqueeze(-1) & (places == n)
        steps = torch.where(finished, 0.0, steps)
    steps = torch.where(possible, steps, -torch.inf)
    best, choices = steps[..., 0, 0, :], []
    for k in range(1, log_potential.shape[-2]):
        best, choice = (best.unsqueeze(-1) + steps[..., k, :, :]).max(-2)
        choices.append(choice)
    ends = [torch.full_like(best[..., :1], n, dtype=torch.long)]
    for choice in choices[::-1]:
        ends.append(choice.gather(-1, ends[-1]))
    return torch.cat([torch.zeros_like(ends[0]), *ends[::-1]], -1).diff(dim=-1)


def _log_integrals(log_s: Tensor) -> Tensor:
    """``log I(a, b)``, shape ``(*batch, n + 1, n + 1)``; 0 where nothing is before or behind."""
    n = log_s.shape[-1]
    first, behind = torch.triu_indices(n + 1, n + 1, 1, device=log_s.device)
    rank = torch.arange(n, device=log_s.device)
    members = (rank >= first.unsqueeze(-1)) & (rank < behind.unsqueeze(-1))
    Y = torch.stack([members, rank >= behind.unsqueeze(-1)], -2).to(log_s.dtype)
    # Columns of zeros are elements of earlier subsets, which are gone.
    log_integral = log_assignment_probability(log_s.unsqueeze(-2), Y, hard=False)
    table = log_s.new_zeros(*log_s.shape[:-1], n + 1, n + 1, dtype=torch.float64)
    table[..., first, behind] = log_integral
    return table
