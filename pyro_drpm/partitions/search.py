# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

r"""The partition of least expected loss, by sequential allocation and sweeps.

Every other start allocates the items in a random order, each to the subset where the expected loss
of what is allocated grows least; the rest begin with random partitions into one, two, ... subsets.
All take up the items again and again, in new orders, and allocate each anew, until a whole sweep
has changed nothing. The starts go at once, as a batch.

What an item adds to the loss in a subset :math:`t` depends on the size :math:`m_t` and for each
draw on the number of items in :math:`t` that the draw puts into the same subset as the item, which
is looked up in contingency tables that are updated in place.

References:
    Dahl, D. B., Johnson, D. J., Müller, P.: Search algorithms and loss functions for Bayesian
    clustering. Journal of Computational and Graphical Statistics 31(4), 2022.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from pyro_drpm.partitions.labels import as_draws, canonical
from pyro_drpm.partitions.losses import (
    Loss,
    PairLoss,
    check_loss,
    expected_loss,
    phi,
    similarity_to_own,
)
from pyro_drpm.partitions.rows import count_subsets, number_rows
from pyro_drpm.partitions.similarity import similarity_matrix
from pyro_drpm.types import Partitions

__all__ = ["PointEstimate", "point_estimate"]

# Share of the draws whose numbers of subsets are usual. A first allocation to as many as an odd
# draw has leads to many small subsets, and takes long.
_USUAL = 0.95
# A change by less is round-off.
_SMALL = 1e-9


class PointEstimate(NamedTuple):
    """Result of :func:`point_estimate`.

    Attributes:
        labels: The partition, numbered from 0 in the order of appearance, shape ``(n,)``.
        expected_loss: Its mean loss over the draws.
    """

    labels: Tensor
    expected_loss: float


def point_estimate(
    draws: Partitions,
    loss: Loss = "vi",
    a: float = 1.0,
    *,
    max_subsets: int | None = None,
    num_starts: int = 16,
    max_sweeps: int = 100,
    generator: torch.Generator | None = None,
    progress: bool = False,
) -> PointEstimate:
    """Search for the partition of least expected loss.

    Args:
        draws: Labels ``(draws, n)`` or one-hot matrices ``(draws, K, n)``.
        loss: ``"binder"``, ``"vi"`` or ``"vi_lb"``.
        a: Weight of subsets that the estimate divides, in (0, 2).
        max_subsets: Largest number of subsets of the estimate; by default there is no limit.
        num_starts: Number of starts, which are searched from at once.
        max_sweeps: Sweeps after which a start is given up, if it still changes.
        generator: Source of the random orders, on the device of the draws; torch's own by default.
        progress: Whether to show a progress bar of the sweeps.

    Returns:
        The best partition that was found.

    Raises:
        ValueError: As :func:`~pyro_drpm.partitions.expected_loss`, or if a number is not positive.

    Example:
        >>> draws = [[0, 0, 1, 1], [5, 5, 2, 2], [1, 1, 1, 3]]
        >>> point_estimate(draws, loss="vi").labels
        tensor([0, 0, 1, 1])
    """
    check_loss(loss, a, get_args(Loss))
    limits = {"max_subsets": max_subsets, "num_starts": num_starts, "max_sweeps": max_sweeps}
    for name, value in limits.items():
        if value is not None and value < 1:
            raise ValueError(f"expected {name} to be positive, but got {value}")
    drawn = canonical(as_draws(draws))
    costs = _LowerBoundCosts(drawn, a) if loss == "vi_lb" else _TableCosts(drawn, loss, a)
    search = _Search(costs, num_starts, max_subsets, generator)
    for _ in tqdm(range(max_sweeps), "sweeps", disable=not progress):
        if not search.sweep():
            break
    losses = expected_loss(drawn, search.labels, loss, a)
    best = int(losses.argmin())
    return PointEstimate(canonical(search.labels[best]), float(losses[best]))


class _Search:
    """A batch of ``R`` estimates that are improved item by item.

    Attributes:
        labels: Slots of the items, shape ``(R, n)``; 0 stands for none.
        num_slots: Number of subsets that an item can be allocated to. The work grows with it.
        moving: Which estimates the last sweep has changed.
    """

    def __init__(
        self,
        costs: _Costs,
        num_starts: int,
        max_subsets: int | None,
        generator: torch.Generator | None,
    ) -> None:
        self.costs, self.generator = costs, generator
        self.limit = min(max_subsets or costs.n, costs.n)
        self.num_slots = min(self.limit, costs.usual_number + 1)
        self.labels = self._allocated(self._initial_labels(num_starts))
        self.moving = torch.arange(num_starts, device=costs.device)

    def _initial_labels(self, num_starts: int) -> Tensor:
        """No subset for any item in every other start; random ones of a few in the rest."""
        shape, device = (num_starts, self.costs.n), self.costs.device
        number = torch.arange(num_starts, device=device).div(2, rounding_mode="floor")
        number = (number % self.num_slots + 1).unsqueeze(-1)
        labels = (torch.rand(shape, generator=self.generator, device=device) * number).long() + 1
        labels[::2] = 0
        return labels

    def sweep(self) -> bool:
        """Allocate all items anew, one after the other; tell whether that has changed any."""
        before = canonical(self.labels[self.moving]) + 1
        # As many slots as some start uses, and a free one.
        self.num_slots = min(self.limit, int(before.max()) + 1)
        after = self._allocated(before.clone())
        self.labels[self.moving] = after
        self.moving = self.moving[(after != before).any(-1)]
        return len(self.moving) > 0

    def _allocated(self, labels: Tensor) -> Tensor:
        self.costs.reset(labels, self.num_slots)
        noise = torch.rand(labels.shape, generator=self.generator, device=labels.device)
        for item in noise.argsort(-1).unbind(-1):
            old = labels.gather(-1, item.unsqueeze(-1))
            self.costs.remove(item, old)
            cost = self.costs.of_each_slot(item)
            best, new = cost.min(-1, keepdim=True)
            # The old place, unless another is really better.
            at_old = cost.gather(-1, (old - 1).clamp(min=0))
            stays = (old > 0) & (at_old <= best + _SMALL)
            new = torch.where(stays, old, new + 1)
            self.costs.add(item, new)
            labels.scatter_(-1, item.unsqueeze(-1), new)
        return labels


class _Costs(ABC):
    """What an item adds to the expected loss of each start, in each slot for a subset.

    Attributes:
        n: Number of items.
        a: Weight of subsets that the estimate divides.
        usual_number: Number of subsets that few draws exceed.
        device: Where everything is.
        growth: What the loss's function of a size gains by one item more, shape ``(n,)``.
    """

    def __init__(self, draws: Tensor, loss: PairLoss, a: float) -> None:
        self.n, self.device = draws.shape[-1], draws.device
        number = count_subsets(draws)
        self.usual_number = int(number.kthvalue(math.ceil(_USUAL * len(number))).values)
        self.a = a
        self.growth = phi(torch.arange(self.n + 1, device=self.device), loss).diff()

    @abstractmethod
    def reset(self, labels: Tensor, num_slots: int) -> None:
        """Begin with labels ``(R, n)`` from 0, which stands for no subset, to ``num_slots``."""

    @abstractmethod
    def of_each_slot(self, item: Tensor) -> Tensor:
        """Costs ``(R, num_slots)`` of an item ``(R,)`` of each start that is in no subset."""

    @abstractmethod
    def add(self, item: Tensor, slot: Tensor) -> None:
        """Put an item ``(R,)`` of each start into a slot ``(R, 1)``."""

    @abstractmethod
    def remove(self, item: Tensor, slot: Tensor) -> None:
        """Take it out of a slot, if it is in one."""


class _TableCosts(_Costs):
    """Costs for Binder's loss and the variation of information, from contingency tables.

    Of each start, draw and subset of the draw, a row counts the items in each slot that the draw
    has in that subset. The first column is that of items in no subset, and never looked at.
    """

    def __init__(self, draws: Tensor, loss: PairLoss, a: float) -> None:
        super().__init__(draws, loss, a)
        self.rows = number_rows(draws)
        self.num_rows = int(self.rows.max()) + 1

    def reset(self, labels: Tensor, num_slots: int) -> None:
        width = num_slots + 1
        self.tables = labels.new_empty(len(labels), self.num_rows * width)
        for table, slots in zip(self.tables, labels, strict=True):
            cells = (self.rows * width + slots).flatten()
            table.copy_(cells.bincount(minlength=len(table)))
        self.tables = self.tables.view(-1, width)
        self.sizes = F.one_hot(labels, width).sum(1)
        first_row = torch.arange(len(labels), device=self.device) * self.num_rows
        self.first_row = first_row.unsqueeze(-1)

    def of_each_slot(self, item: Tensor) -> Tensor:
        rows = self._rows(item)
        together = self.tables.index_select(0, rows.flatten())[:, 1:]
        gain = self.growth[together].view(*rows.shape, -1).mean(1)
        return (2 - self.a) * self.growth[self.sizes[:, 1:]] - 2 * gain

    def add(self, item: Tensor, slot: Tensor) -> None:
        self._count(item, slot, 1)

    def remove(self, item: Tensor, slot: Tensor) -> None:
        self._count(item, slot, -1)

    def _count(self, item: Tensor, slot: Tensor, number: int) -> None:
        cells = (self._rows(item) * self.tables.shape[-1] + slot).flatten()
        self.tables.view(-1).index_add_(0, cells, torch.full_like(cells, number))
        self.sizes.scatter_add_(-1, slot, torch.full_like(slot, number))

    def _rows(self, item: Tensor) -> Tensor:
        """Rows ``(R, D)`` of the subsets that hold an item."""
        return self.first_row + self.rows[:, item].mT


class _LowerBoundCosts(_Costs):
    """Costs for the lower bound, from the similarity matrix.

    ``own[r, j]`` is the sum of the similarities of item ``j`` with its own subset.
    """

    def __init__(self, draws: Tensor, a: float) -> None:
        super().__init__(draws, "vi", a)
        self.similarity = similarity_matrix(draws)

    def reset(self, labels: Tensor, num_slots: int) -> None:
        self.labels, self.num_slots = labels.clone(), num_slots
        self.own = similarity_to_own(self.similarity, labels)

    def of_each_slot(self, item: Tensor) -> Tensor:
        similar = self.similarity[item]  # (R, n)
        gain = ((self.own + similar) / self.own).log2()
        members = torch.stack([similar, gain, torch.ones_like(gain)])
        zeros = members.new_zeros(*members.shape[:2], self.num_slots + 1)
        slots = self.labels.expand(members.shape)
        sums, gains, sizes = zeros.scatter_add(-1, slots, members)[..., 1:]
        return (2 - self.a) * self.growth[sizes.long()] - 2 * (gains + (1 + sums).log2())

    def add(self, item: Tensor, slot: Tensor) -> None:
        self.labels.scatter_(-1, item.unsqueeze(-1), slot)
        similar = self.similarity[item] * (self.labels == slot)
        self.own += similar
        self.own.scatter_(-1, item.unsqueeze(-1), similar.sum(-1, keepdim=True))

    def remove(self, item: Tensor, slot: Tensor) -> None:
        # Those of items in no subset may become anything but zero, and are not looked at.
        self.own -= self.similarity[item] * ((self.labels == slot) & (slot > 0))
        self.labels.scatter_(-1, item.unsqueeze(-1), 0)
