# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""A search for partitions of least expected loss whose subsets have certain sizes.

Each start cuts a random draw, whose subsets are put in a random order, into subsets of possible
sizes. Then items move to other subsets where the sizes allow it, and swap places with others,
until a whole sweep has changed nothing.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_drpm.partitions.costs import Costs
from pyro_drpm.partitions.search import SMALL
from pyro_drpm.partitions.size_bounds import SizeBounds

__all__ = ["BoundedSearch"]

_PARTNERS = 64  # items that an item may swap places with in a sweep, at random if there are more


class BoundedSearch:
    """A batch of ``R`` estimates that are improved item by item.

    Args:
        costs: Of moves and swaps.
        draws: Labels to start from, canonical, shape ``(D, n)``.
        bounds: The sizes.
        num_starts: The number ``R``.
        generator: Source of randomness.

    Attributes:
        labels: Slots of the items from 1, shape ``(R, n)``.
    """

    def __init__(
        self,
        costs: Costs,
        draws: Tensor,
        bounds: SizeBounds,
        num_starts: int,
        generator: torch.Generator | None,
    ) -> None:
        self.costs, self.bounds, self.generator = costs, bounds, generator
        # Numbers of subsets that draws have come first, for these are likely to be best.
        usual = [x for x in bounds.numbers if x <= costs.usual_number] or [bounds.numbers[0]]
        numbers = [*reversed(usual), *(x for x in bounds.numbers if x > usual[-1])]
        self.labels = torch.stack(
            [self._start(draws, numbers[r % len(numbers)]) for r in range(num_starts)]
        )
        self.moving = torch.arange(num_starts, device=costs.device)

    def _rand(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator, device=self.costs.device)

    def _start(self, draws: Tensor, number: int) -> Tensor:
        draw = draws[int(self._rand(1) * len(draws))]
        place = self._rand(int(draw.max()) + 1)[draw] + 1e-6 * self._rand(self.bounds.n)
        sizes = torch.tensor(self.bounds.start(number), device=draws.device)
        sizes = sizes[self._rand(number).argsort()]
        slots = torch.arange(1, number + 1, device=draws.device).repeat_interleave(sizes)
        return torch.empty_like(draw).scatter(0, place.argsort(), slots)

    def sweep(self) -> bool:
        """Look at all items in turn; tell whether that has changed any start."""
        before = self.labels[self.moving]
        after = self._improved(before.clone())
        self.labels[self.moving] = after
        self.moving = self.moving[(after != before).any(-1)]
        return len(self.moving) > 0

    def _improved(self, labels: Tensor) -> Tensor:
        num_slots = int(labels.max())
        if self.bounds.sizes is None and self.bounds.least == 1:
            num_slots = min(num_slots + 1, self.bounds.numbers[-1])  # one to open
        self.costs.reset(labels, num_slots)
        sizes = F.one_hot(labels, num_slots + 1).sum(1)
        for item in self._rand(*labels.shape).argsort(-1).unbind(-1):
            if self.bounds.sizes is None:
                self._move(labels, item, sizes)
            self._swap(labels, item)
        return labels

    def _move(self, labels: Tensor, item: Tensor, sizes: Tensor) -> None:
        """Put an item where the loss is least, of the slots ``(R, slots + 1)`` that have room."""
        old = labels.gather(-1, item.unsqueeze(-1))
        self.costs.remove(item, old)
        left = sizes.gather(-1, old) - 1
        may_leave = (left == 0) | (left >= self.bounds.least)
        has_room = (sizes < self.bounds.most) & ((sizes > 0) | (self.bounds.least == 1))
        # Not more subsets than may be: the last to open is one that closes.
        number = (sizes[:, 1:] > 0).sum(-1, keepdim=True)
        has_room &= (sizes > 0) | (number - (left == 0).long() < self.bounds.numbers[-1])
        is_own = torch.zeros_like(has_room).scatter_(-1, old, value=True)
        allowed = is_own | (may_leave & has_room)
        cost = self.costs.of_each_slot(item)
        at_own = cost.gather(-1, old - 1)
        best, new = torch.where(allowed[:, 1:], cost, torch.inf).min(-1, keepdim=True)
        new = torch.where(best < at_own - SMALL, new + 1, old)
        self.costs.add(item, new)
        labels.scatter_(-1, item.unsqueeze(-1), new)
        one = torch.ones_like(old)
        sizes.scatter_add_(-1, old, -one).scatter_add_(-1, new, one)

    def _swap(self, labels: Tensor, item: Tensor) -> None:
        """Let an item swap places with the one where the loss falls most."""
        shape, n = (len(labels), min(self.bounds.n, _PARTNERS)), self.bounds.n
        partners = (
            torch.arange(n, device=labels.device).expand(shape)
            if n <= _PARTNERS
            else (self._rand(*shape) * n).long()
        )
        slot, theirs = labels.gather(-1, item.unsqueeze(-1)), labels.gather(-1, partners)
        change = self.costs.of_swaps(item, slot, partners, theirs)
        best, at = torch.where(theirs != slot, change, torch.inf).min(-1, keepdim=True)
        partner = partners.gather(-1, at)
        its = torch.where(best < -SMALL, theirs.gather(-1, at), slot)
        # Where nothing is better the item takes its own place, and the partner too.
        partner = torch.where(best < -SMALL, partner, item.unsqueeze(-1))
        self.costs.remove(item, slot)
        self.costs.add(item, its)
        labels.scatter_(-1, item.unsqueeze(-1), its)
        moved = partner.squeeze(-1)
        self.costs.remove(moved, its)
        self.costs.add(moved, slot)
        labels.scatter_(-1, partner, slot)
