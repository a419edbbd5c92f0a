# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Log-scores around the boundaries of a drawn partition, and what is left over behind them."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_drpm.ops.assignment.ranks import Ranks
from pyro_drpm.ops.assignment.subset_sums import SubsetSums

__all__ = ["Boundaries"]


class Boundaries(NamedTuple):
    """Log-scores by rank and, for each subset, around its boundaries; rests in logarithms.

    Attributes:
        log_s: Of each rank, ``(*batch, n)``; the others are ``(*batch, K)``.
        first: First element of the subset.
        last: Last one.
        before: The element before the first.
        behind: The element behind the last.
        rest: Sum of all behind the subset, ``-inf`` if none.
        rest_behind: The same without ``behind``.
        rest_up: Of each rank, the rest of the preceding subset after an exchange with its last.
        rest_down: Of each rank, the rest of its subset after an exchange with ``behind``.
        size: Of the subset.
        has_before: Whether there is an element before the first.
        has_rest: Whether there is one behind the last.
        previous: The preceding subset that is not empty.
        following: The following one.
    """

    log_s: Tensor
    first: Tensor
    last: Tensor
    before: Tensor
    behind: Tensor
    rest: Tensor
    rest_behind: Tensor
    rest_up: Tensor
    rest_down: Tensor
    size: Tensor
    has_before: Tensor
    has_rest: Tensor
    previous: Tensor
    following: Tensor

    @staticmethod
    def of(log_s: Tensor, ranks: Ranks) -> Boundaries:
        ranked = log_s.double().expand(ranks.element.shape).gather(-1, ranks.element)
        start, end, n = ranks.start, ranks.end, ranked.shape[-1]
        first, last, before, behind = (
            ranks.at(ranked, rank) for rank in (start, end - 1, start - 1, end)
        )
        tail = ranked.flip(-1).logcumsumexp(-1).flip(-1)
        tail = F.pad(tail, (0, 1), value=-math.inf)  # of the last n, n - 1, ..., 0 ranks
        rest, rest_behind = tail.gather(-1, end), tail.gather(-1, (end + 1).clamp(max=n))
        without = _without_each(ranked, tail.gather(-1, start), rest, ranks)
        return Boundaries(
            ranked,
            first,
            last,
            before,
            behind,
            rest,
            rest_behind,
            without.logaddexp(ranks.of_own(before)),
            ranks.of_own(rest_behind).logaddexp(ranked),
            ranks.counts.expand_as(end),
            start > 0,
            end < n,
            ranks.at(ranks.subset, start - 1),
            ranks.at(ranks.subset, end),
        )

    @property
    def active(self) -> Tensor:
        """Whether a subset has an integral: it is not empty, and not the last that is not."""
        return (self.size > 0) & self.has_rest


def _without_each(log_s: Tensor, total: Tensor, rest: Tensor, ranks: Ranks) -> Tensor:
    """Logarithms of the sums from a rank's subset on, without this rank.

    The difference would lose all digits where one element has nearly all of the sum; that is the
    largest of its subset, for which the others are added up.
    """
    subsets = SubsetSums(ranks.subset, total.shape[-1])
    largest = subsets.largest(log_s)
    others = log_s.masked_fill(log_s == ranks.of_own(largest), -math.inf)
    top = subsets.largest(others)
    top = torch.where(top.isfinite(), top, 0.0)
    weights = (others - ranks.of_own(top)).exp()
    sums = subsets.total(weights).log() + top
    share = (log_s - ranks.of_own(total)).exp()
    difference = ranks.of_own(total) + (-share.clamp(max=0.75)).log1p()
    return torch.where(share > 0.5, ranks.of_own(sums.logaddexp(rest)), difference)
