# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""A search for partitions of least expected loss, of any sizes.

Every other start allocates the items in a random order, each to the subset where the expected loss
of what is allocated grows least; the rest begin with random partitions into one, two, ... subsets.
All take up the items again and again, in new orders, and allocate each anew, until a whole sweep
has changed nothing. The starts go at once, as a batch.

References:
    Dahl, D. B., Johnson, D. J., Müller, P.: Search algorithms and loss functions for Bayesian
    clustering. Journal of Computational and Graphical Statistics 31(4), 2022.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_drpm.partitions.costs import Costs
from pyro_drpm.partitions.labels import canonical

__all__ = ["SMALL", "Search"]

SMALL = 1e-9
"""A change by less is round-off."""


class Search:
    """A batch of ``R`` estimates that are improved item by item.

    Attributes:
        labels: Slots of the items, shape ``(R, n)``; 0 stands for none.
        num_slots: Number of subsets that an item can be allocated to. The work grows with it.
        moving: Which estimates the last sweep has changed.
    """

    def __init__(
        self,
        costs: Costs,
        num_starts: int,
        max_subsets: int | None,
        generator: torch.Generator | None,
    ) -> None:
        self.costs, self.generator = costs, generator
        self.limit = min(max_subsets or costs.n, costs.n)
        self.num_slots = min(self.limit, costs.usual_number + 1)
        self.labels = self._allocated(self._initial_labels(num_starts), costs.of_parts)
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
        after = self._allocated(before.clone(), self.costs)
        self.labels[self.moving] = after
        self.moving = self.moving[(after != before).any(-1)]
        return len(self.moving) > 0

    def _allocated(self, labels: Tensor, costs: Costs) -> Tensor:
        costs.reset(labels, self.num_slots)
        noise = torch.rand(labels.shape, generator=self.generator, device=labels.device)
        for item in noise.argsort(-1).unbind(-1):
            old = labels.gather(-1, item.unsqueeze(-1))
            costs.remove(item, old)
            cost = costs.of_each_slot(item)
            best, new = cost.min(-1, keepdim=True)
            # The old place, unless another is really better.
            at_old = cost.gather(-1, (old - 1).clamp(min=0))
            stays = (old > 0) & (at_old <= best + SMALL)
            new = torch.where(stays, old, new + 1)
            costs.add(item, new)
            labels.scatter_(-1, item.unsqueeze(-1), new)
        return labels
