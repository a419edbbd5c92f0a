# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Sizes that a partition's subsets are to have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["SizeBounds"]


class SizeBounds(NamedTuple):
    """Which partitions of ``n`` items are wanted.

    Attributes:
        n: Number of items.
        sizes: The sizes of all subsets, or none.
        least: Fewest items of a subset.
        most: Most items.
        numbers: Numbers of subsets that are possible.
    """

    n: int
    sizes: list[int] | None
    least: int
    most: int
    numbers: range

    @staticmethod
    def of(
        n: int,
        sizes: Sequence[int] | Tensor | None,
        min_size: int | None,
        max_size: int | None,
        max_subsets: int | None,
    ) -> SizeBounds | None:
        """What the arguments of a point estimate ask for; none if any sizes will do.

        Raises:
            ValueError: If no partition has such sizes.
        """
        if sizes is not None:
            if (min_size, max_size, max_subsets) != (None, None, None):
                raise ValueError("expected either sizes, or bounds of them and of their number")
            return SizeBounds._of_sizes(n, sizes)
        if min_size is None and max_size is None:
            return None
        least, most = min_size or 1, min(max_size or n, n)
        numbers = range(-(-n // most), min(n // least, max_subsets or n) + 1)
        if not numbers:
            limit = "" if max_subsets is None else f" into at most {max_subsets}"
            raise ValueError(
                f"expected bounds that some partition{limit} keeps, but {n} items cannot be "
                f"divided into subsets of {least} to {most}"
            )
        return SizeBounds(n, None, least, most, numbers)

    @staticmethod
    def _of_sizes(n: int, sizes: Sequence[int] | Tensor) -> SizeBounds:
        given = torch.as_tensor(sizes)
        if given.dim() != 1 or given.is_floating_point() or bool((given < 1).any()):
            raise ValueError(f"expected sizes that are positive integers, but got {sizes}")
        values = [int(size) for size in given.tolist()]
        if sum(values) != n:
            raise ValueError(f"expected sizes that add up to {n}, but got {values}")
        return SizeBounds(n, values, min(values), max(values), range(len(values), len(values) + 1))

    def start(self, number: int) -> list[int]:
        """Sizes to begin with: those that are wanted, or such that are alike."""
        if self.sizes is not None:
            return self.sizes
        few, more = divmod(self.n, number)
        return [few + 1] * more + [few] * (number - more)
