# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Partitions of a part of the items that are probable as they stand."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pyro_drpm.partitions.labels import as_draws, canonical
from pyro_drpm.types import Partitions

__all__ = ["Subpartition", "subpartition"]


class Subpartition(NamedTuple):
    """Result of :func:`subpartition`.

    Attributes:
        labels: Subsets of the items that were allocated, numbered from 0 in the order of
            appearance; -1 for others; shape ``(n,)``.
        probability: Share of the draws that divide these items in this way.
        order: Items in the order in which they were allocated, all of them, shape ``(n,)``.
        probabilities: That of the partition of the first items of this order, shape ``(n,)``.
    """

    labels: Tensor
    probability: float
    order: Tensor
    probabilities: Tensor


def subpartition(
    draws: Partitions,
    level: float = 0.5,
    *,
    num_starts: int = 64,
    generator: torch.Generator | None = None,
) -> Subpartition:
    """Search for a partition of as many items as possible that has a certain probability.

    A whole partition seldom has a probability worth naming, a partition of the items that are sure
    of their places has. A search begins with each of several items alone. It then allocates one
    item after the other, the one whose best subset, among those there are and a new one, leaves
    most of the draws. All stops where fewer draws than the level would be left.

    Args:
        draws: Labels ``(draws, n)`` or one-hot matrices ``(draws, K, n)``.
        level: Least probability, in (0, 1].
        num_starts: Number of searches; from all items in turn if there are no more.
        generator: Source of the random first items; torch's own by default.

    Returns:
        The best that was found: of most items, and of those the most probable.

    Raises:
        ValueError: As :func:`~pyro_drpm.partitions.as_draws`, or if the level is not a share, or
            there are no starts.

    References:
        Page, G. L., Barrientos, A. F., Dahl, D. B., Dunson, D. B.: Uncertainty quantification in
        Bayesian clustering. arXiv 2511.16040, 2025 (conditional high inclusion probability subset
        partitions, CHIPS).

    Example:
        Item 2 may be with either pair:

        >>> draws = [[0, 0, 0, 1, 1]] * 5 + [[0, 0, 1, 1, 1]] * 5
        >>> found = subpartition(draws, level=0.9)
        >>> found.labels, found.probability
        (tensor([ 0,  0, -1,  1,  1]), 1.0)
    """
    if not 0 < level <= 1:
        raise ValueError(f"expected a level in (0, 1], but got {level}")
    if num_starts < 1:
        raise ValueError(f"expected num_starts to be positive, but got {num_starts}")
    drawn = canonical(as_draws(draws))
    n = drawn.shape[-1]
    firsts = torch.randperm(n, generator=generator, device=drawn.device)[:num_starts]
    searches = [_Growth(drawn, int(first)).grown(level) for first in firsts.sort().values]
    best = max(searches, key=lambda one: (len(one.order), one.probabilities[-1]))
    labels, probability = best.labels.clone(), best.probabilities[-1]
    best.grown(0.0)
    return Subpartition(
        _in_order(labels),
        probability,
        torch.tensor(best.order, device=drawn.device),
        torch.tensor(best.probabilities, dtype=torch.float64, device=drawn.device),
    )


class _Growth:
    """A partition that items are allocated to, one after the other.

    Attributes:
        labels: Subsets from 1, -1 for items that are not allocated; shape ``(n,)``.
        order: Items that are.
        probabilities: Shares of the draws that divided the first of them in this way.
    """

    def __init__(self, drawn: Tensor, first: int) -> None:
        num_draws, n = drawn.shape
        self.drawn, self.width = drawn, int(drawn.max()) + 2
        self.labels = torch.full((n,), -1, device=drawn.device)
        self.order: list[int] = []
        self.probabilities: list[float] = []
        # Draws that are left, and which subset each of their own stands for, 0 for none.
        self.rows = torch.arange(num_draws, device=drawn.device)
        self.places = torch.zeros_like(drawn)
        # How many draws that are left have each item in each subset, the first for a new one.
        self.counts = torch.zeros(n, self.width, dtype=torch.long, device=drawn.device)
        self.counts[:, 0] = num_draws
        self._allocate(first, 0)

    def grown(self, level: float) -> _Growth:
        """Go on while a share of the draws is left."""
        while len(self.order) < len(self.labels):
            open_counts = self.counts.masked_fill((self.labels >= 0).unsqueeze(-1), -1)
            best = int(open_counts.argmax())
            if int(open_counts.flatten()[best]) < level * len(self.drawn) - 1e-9:
                break
            self._allocate(best // self.width, best % self.width)
        return self

    def _allocate(self, item: int, place: int) -> None:
        stays = self.places[self.rows, item] == place
        self._count(self.rows[~stays], -1)
        self.rows = self.rows[stays]
        if place == 0:
            place = int(self.labels.max().clamp(min=0)) + 1
            own = self.drawn[self.rows]
            together = own == own[:, item : item + 1]
            self.places[self.rows] = torch.where(together, place, self.places[self.rows])
            self.counts[:, 0] -= together.sum(0)
            self.counts[:, place] += together.sum(0)
        self.labels[item] = place
        self.order.append(item)
        self.probabilities.append(len(self.rows) / len(self.drawn))

    def _count(self, rows: Tensor, number: int) -> None:
        places = self.places[rows].mT
        self.counts.scatter_add_(1, places, torch.full_like(places, number))


def _in_order(labels: Tensor) -> Tensor:
    """Subsets numbered in the order of appearance, -1 left."""
    given = labels >= 0
    numbered = labels.clone()
    numbered[given] = canonical(labels[given])
    return numbered
