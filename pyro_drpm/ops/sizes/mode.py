# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The most probable sizes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["most_probable_counts", "most_probable_counts_if_concave"]

# Sums that are looked at at a time.
_CHUNK = 1 << 22


@torch.no_grad()
def most_probable_counts(log_factors: Tensor, total: int, empty_last: bool = False) -> Tensor:
    """Counts that add up to ``n`` with the largest sum of log-factors, ``O(K n^2)``.

    Dynamic programming over what is left for the later subsets.

    Args:
        log_factors: Of counts from 0 to ``n``, shape ``(*batch, K, n + 1)``.
        total: Number ``n`` of elements.
        empty_last: Whether subsets are empty if and only if nothing is left over for them.

    Returns:
        Integers, shape ``(*batch, K)``.
    """
    if empty_last:
        some = torch.arange(total + 1, device=log_factors.device) > 0
        log_factors = torch.where(some, log_factors, -torch.inf)
    rows = log_factors.detach().unbind(-2)
    best, choices = rows[-1], []  # of what is left over for the last subsets, from 0 to n
    for row in rows[-2::-1]:
        if empty_last:
            best = F.pad(best[..., 1:], (1, 0))
        best, choice = _best_sums(row, best)
        choices.append(choice)
    left = torch.full_like(best[..., :1], total, dtype=torch.long)
    counts = []
    for choice in choices[::-1]:
        counts.append(choice.gather(-1, left))
        left = left - counts[-1]
    return torch.cat([*counts, left], -1)


def _best_sums(row: Tensor, later: Tensor) -> tuple[Tensor, Tensor]:
    """``max_x row[x] + later[r - x]`` for every ``r`` from 0 to ``n``, and where it is."""
    width = row.shape[-1]
    padded = F.pad(later.flip(-1), (0, width - 1), value=-torch.inf)
    windows = padded.unfold(-1, width, 1).flip(-2)  # [r, x] is later[r - x]
    step = max(1, _CHUNK // row.numel())
    parts = [(row.unsqueeze(-2) + part).max(-1) for part in windows.split(step, -2)]
    return torch.cat([part[0] for part in parts], -1), torch.cat([part[1] for part in parts], -1)


@torch.no_grad()
def most_probable_counts_if_concave(gains: Tensor, minimum: Tensor, total: int) -> Tensor:
    """The same where log-factors are concave: each element in turn goes where it gains most.

    Args:
        gains: What the log-factor of a subset gains by one element more, from the minimum on;
            shape ``(*batch, K, w)``, which falls along the last dimension.
        minimum: The least counts, integers, shape ``(*batch, K)`` or broadcastable.
        total: Number ``n`` of elements.
    """
    width = gains.shape[-1]
    given = total - minimum.sum(-1, keepdim=True)
    order = gains.flatten(-2).sort(dim=-1, descending=True, stable=True).indices
    chosen = torch.arange(order.shape[-1], device=gains.device) < given
    counts = torch.zeros(gains.shape[:-1], dtype=torch.long, device=gains.device)
    return minimum + counts.scatter_add(-1, order // width, chosen.expand(order.shape).long())
