# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""What moves of items change in the expected loss of estimates, many estimates at once.

What an item adds to the loss in a subset :math:`t` depends on the size :math:`m_t` and for each
draw on the number of items in :math:`t` that the draw puts into the same subset as the item, which
is looked up in contingency tables that are updated in place.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_drpm.partitions.losses import (
    RATIOS,
    loss_of_sums,
    phi,
    similarity_to_own,
    sum_over_subsets,
)
from pyro_drpm.partitions.rows import count_subsets, number_rows
from pyro_drpm.partitions.similarity import similarity_matrix
from pyro_drpm.types import Loss, PairLoss

__all__ = ["Costs", "costs_of"]

_USUAL = 0.95


def costs_of(draws: Tensor, loss: Loss, a: float) -> Costs:
    """The costs of a loss, for canonical draws ``(D, n)``."""
    if loss == "vi_lb":
        return LowerBoundCosts(draws, a)
    return RatioCosts(draws, loss) if loss in RATIOS else TableCosts(draws, loss, a)


class Costs(ABC):
    """What an item adds to the expected loss of each start, in each slot for a subset.

    All are up to what does not depend on the slot, and a factor.

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

    @property
    def of_parts(self) -> Costs:
        """Costs that make sense while some items are in no subset."""
        return self

    @abstractmethod
    def reset(self, labels: Tensor, num_slots: int) -> None:
        """Begin with labels ``(R, n)`` from 0, which stands for no subset, to ``num_slots``."""

    @abstractmethod
    def of_each_slot(self, item: Tensor) -> Tensor:
        """Costs ``(R, num_slots)`` of an item ``(R,)`` of each start that is in no subset."""

    @abstractmethod
    def of_swaps(self, item: Tensor, slot: Tensor, partners: Tensor, theirs: Tensor) -> Tensor:
        """Changes ``(R, P)`` of the costs where an item swaps places with one of its partners.

        Args:
            item: Shape ``(R,)``.
            slot: Its slot, shape ``(R, 1)``.
            partners: Items, shape ``(R, P)``.
            theirs: Their slots, shape ``(R, P)``; those in the same are not looked at.
        """

    @abstractmethod
    def add(self, item: Tensor, slot: Tensor) -> None:
        """Put an item ``(R,)`` of each start into a slot ``(R, 1)``."""

    @abstractmethod
    def remove(self, item: Tensor, slot: Tensor) -> None:
        """Take it out of a slot, if it is in one."""


class TableCosts(Costs):
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

    def of_swaps(self, item: Tensor, slot: Tensor, partners: Tensor, theirs: Tensor) -> Tensor:
        return -2 * self._joint_of_swaps(item, slot, partners, theirs).mean(-1)

    def _joint_of_swaps(
        self, item: Tensor, slot: Tensor, partners: Tensor, theirs: Tensor
    ) -> Tensor:
        """Changes ``(R, P, D)`` of the sum over intersections with the subsets of each draw."""
        mine = self._rows(item).unsqueeze(1)  # (R, 1, D)
        other = self.first_row.unsqueeze(-1) + self.rows[:, partners].movedim(0, -1)
        cells, width = self.tables.view(-1), self.tables.shape[-1]
        own, its = slot.unsqueeze(-1), theirs.unsqueeze(-1)
        together = (mine == other).long()
        return (
            self.growth[(cells[mine * width + its] - together).clamp(min=0)]
            + self.growth[(cells[other * width + own] - together).clamp(min=0)]
            - self.growth[cells[mine * width + own] - 1]
            - self.growth[cells[other * width + its] - 1]
        )

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


class RatioCosts(TableCosts):
    """Costs for losses that are not linear in the sums over subsets and intersections.

    Attributes:
        of_draws: Sums over the subsets of each draw, shape ``(D,)``.
        of_starts: Over those of each start, shape ``(R, 1)``.
        joint: Over the intersections of both, shape ``(R, D)``.
    """

    def __init__(self, draws: Tensor, loss: PairLoss) -> None:
        super().__init__(draws, loss, 1.0)
        self.loss = loss
        self._parts = TableCosts(draws, "binder" if loss == "omari" else "vi", 1.0)
        self.values = phi(torch.arange(self.n + 1, device=self.device), loss)
        self.of_draws = sum_over_subsets(self.values, draws)
        number = count_subsets(draws)
        self._draw_of_row = torch.arange(len(draws), device=self.device).repeat_interleave(number)

    @property
    def of_parts(self) -> Costs:
        return self._parts

    def reset(self, labels: Tensor, num_slots: int) -> None:
        super().reset(labels, num_slots)
        of_rows = self.values[self.tables[:, 1:]].sum(-1).view(len(labels), -1)
        zeros = of_rows.new_zeros(len(labels), len(self.of_draws))
        self.joint = zeros.index_add(1, self._draw_of_row, of_rows)
        self.of_starts = self.values[self.sizes[:, 1:]].sum(-1, keepdim=True)

    def of_each_slot(self, item: Tensor) -> Tensor:
        rows = self._rows(item)
        together = self.tables.index_select(0, rows.flatten())[:, 1:].view(*rows.shape, -1)
        joint = self.joint.unsqueeze(-1) + self.growth[together]
        of_starts = self.of_starts + self.growth[self.sizes[:, 1:]]
        return self._mean_loss(of_starts.unsqueeze(1), joint, self.of_draws.unsqueeze(-1), 1)

    def of_swaps(self, item: Tensor, slot: Tensor, partners: Tensor, theirs: Tensor) -> Tensor:
        before = self.joint.unsqueeze(1)
        joint = before + self._joint_of_swaps(item, slot, partners, theirs)
        of_starts = self.of_starts.unsqueeze(-1)
        old, new = (self._mean_loss(of_starts, x, self.of_draws, -1) for x in (before, joint))
        return new - old

    def _mean_loss(self, of_starts: Tensor, joint: Tensor, of_draws: Tensor, dim: int) -> Tensor:
        return loss_of_sums(of_draws, of_starts, joint, self.n, self.loss).mean(dim)

    def _count(self, item: Tensor, slot: Tensor, number: int) -> None:
        cells = self.tables.view(-1)[self._rows(item) * self.tables.shape[-1] + slot]
        size, is_in = self.sizes.gather(-1, slot), slot > 0
        if number < 0:
            cells, size = cells - 1, size - 1
        # Slot 0 holds those in no subset.
        self.joint += number * torch.where(is_in, self.growth[cells.clamp(min=0)], 0.0)
        self.of_starts += number * torch.where(is_in, self.growth[size.clamp(min=0)], 0.0)
        super()._count(item, slot, number)


class LowerBoundCosts(Costs):
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

    def of_swaps(self, item: Tensor, slot: Tensor, partners: Tensor, theirs: Tensor) -> Tensor:
        mine, their = self.similarity[item].unsqueeze(1), self.similarity[partners]  # (R, P, n)
        labels, own = self.labels.unsqueeze(1), self.own.unsqueeze(1)
        place = torch.arange(self.n, device=self.device)
        is_i, is_j = place == item.view(-1, 1, 1), place == partners.unsqueeze(-1)
        with_i = (labels == slot.unsqueeze(-1)) & ~is_i
        with_j = (labels == theirs.unsqueeze(-1)) & ~is_j
        change = torch.where(with_i, their - mine, 0.0) + torch.where(with_j, mine - their, 0.0)
        change = change + torch.where(is_i, 1 + (mine * with_j).sum(-1, keepdim=True) - own, 0.0)
        change = change + torch.where(is_j, 1 + (their * with_i).sum(-1, keepdim=True) - own, 0.0)
        return -2 * ((own + change) / own).log2().sum(-1)

    def add(self, item: Tensor, slot: Tensor) -> None:
        self.labels.scatter_(-1, item.unsqueeze(-1), slot)
        similar = self.similarity[item] * (self.labels == slot)
        self.own += similar
        self.own.scatter_(-1, item.unsqueeze(-1), similar.sum(-1, keepdim=True))

    def remove(self, item: Tensor, slot: Tensor) -> None:
        # Those of items in no subset may become anything but zero, and are not looked at.
        self.own -= self.similarity[item] * ((self.labels == slot) & (slot > 0))
        self.labels.scatter_(-1, item.unsqueeze(-1), 0)
