# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Sums and maxima over the elements of each subset."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["SubsetSums"]

# Numbers that a GPU's additions are spread over: where all go to a few, each waits for the others.
_PLACES = 1024


class SubsetSums:
    """Adds up, or compares, what belongs to the elements of each subset.

    On a GPU every subset has several partial results, to which its elements contribute in turn.

    Args:
        subset: Of each element, shape ``(*batch, n)``.
        num_subsets: How many there are.

    Attributes:
        row: Of each element of the whole batch, the row in the matrix of all its subsets, one dim.
        place: The place of its partial result, likewise.
        shape: Of the partial results, ``(copies, *batch, num_subsets)``.

    Example:
        >>> sums = SubsetSums(torch.tensor([0, 2, 2]), 3)
        >>> sums.total(torch.tensor([1.0, 2.0, 3.0]))
        tensor([1., 0., 5.])
        >>> sums.largest(torch.tensor([1.0, 2.0, 3.0]))
        tensor([1., -inf, 3.])
    """

    def __init__(self, subset: Tensor, num_subsets: int) -> None:
        *batch, n = subset.shape
        copies = _copies(subset, num_subsets)
        self.shape = torch.Size((copies, *batch, num_subsets))
        first = torch.arange(math.prod(batch), device=subset.device) * num_subsets
        row = subset + first.view(*batch, 1)
        self.row = self.place = row.flatten()
        if copies > 1:
            turn = torch.arange(n, device=subset.device) % copies
            self.place = (row + turn * self.shape[1:].numel()).flatten()

    def total(self, values: Tensor) -> Tensor:
        """Sums over the elements, from ``(*batch, n)`` to ``(*batch, num_subsets)``."""
        sums = values.new_zeros(self.shape.numel())
        return self.joined(sums.scatter_add(0, self.place, values.flatten()))

    def largest(self, values: Tensor) -> Tensor:
        """Maxima over the elements, in the same shapes; ``-inf`` for an empty subset."""
        lowest = values.new_full((self.shape.numel(),), -math.inf)
        partial = lowest.scatter_reduce(0, self.place, values.flatten(), "amax")
        return partial.view(self.shape).amax(0)

    def joined(self, sums: Tensor) -> Tensor:
        """Add up partial sums, with dims of any shape behind that of the places."""
        sums = sums.unflatten(0, self.shape)
        return sums.squeeze(0) if len(sums) == 1 else sums.sum(0)


def _copies(subset: Tensor, num_subsets: int) -> int:
    """How many partial results every subset has."""
    if subset.device.type == "cpu":
        return 1
    number = math.prod(subset.shape[:-1]) * num_subsets
    return max(1, _PLACES // max(1, number))
