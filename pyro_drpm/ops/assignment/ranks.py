# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""A drawn partition in the order of its ranks."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Ranks"]


class Ranks(NamedTuple):
    """What a partition is drawn from: counts, and elements in the order of their perturbed scores.

    Subset ``k`` has the ranks from ``start[k]`` up to, but not with, ``end[k]``, counted from 0.

    Attributes:
        counts: Sizes of the subsets, shape ``(*batch, K)`` or broadcastable with it.
        element: The element of each rank, shape ``(*batch, n)``.
        score: Its log-score plus Gumbel noise, in descending order, shape ``(*batch, n)``, float64.
        subset: The subset of each rank, which does not fall from one rank to the next, shape
            ``(*batch, n)``.

    Example:
        >>> ranks = Ranks.of(torch.tensor([1, 2]), torch.tensor([0.5, 2.0, 1.0]))
        >>> ranks.element, ranks.subset
        (tensor([1, 2, 0]), tensor([0, 1, 1]))
    """

    counts: Tensor
    element: Tensor
    score: Tensor
    subset: Tensor

    @staticmethod
    def of(counts: Tensor, scores: Tensor) -> Ranks:
        """Ranks of perturbed scores ``(*batch, n)``, the first subset takes the highest."""
        score, element = scores.sort(dim=-1, descending=True, stable=True)
        return Ranks(counts, element, score, _subset_of_each(counts, element.shape))

    def expand(self, batch_shape: torch.Size) -> Ranks:
        """The same for a larger batch; counts stay as they are."""
        return self._replace(
            element=self.element.expand(*batch_shape, -1),
            score=self.score.expand(*batch_shape, -1),
            subset=self.subset.expand(*batch_shape, -1),
        )

    @property
    def end(self) -> Tensor:
        """Boundaries behind the subsets, shape ``(*batch, K)``."""
        num_subsets = self.counts.shape[-1]
        return self.counts.expand(*self.element.shape[:-1], num_subsets).cumsum(-1)

    @property
    def start(self) -> Tensor:
        """Boundaries before the subsets, shape ``(*batch, K)``."""
        return self.end - self.counts

    def at(self, values: Tensor, rank: Tensor) -> Tensor:
        """Values of ranks ``(*batch, n)`` at some of them, at the nearest where there is none."""
        return values.gather(-1, rank.clamp(0, values.shape[-1] - 1))

    def of_own(self, values: Tensor) -> Tensor:
        """From values of subsets ``(*batch, K)`` to those of each rank's own subset."""
        return values.gather(-1, self.subset)


def _subset_of_each(counts: Tensor, shape: torch.Size) -> Tensor:
    """A step up at every boundary, shape ``(*batch, n)``."""
    ends = counts.cumsum(-1)[..., :-1]
    steps = counts.new_zeros(*counts.shape[:-1], shape[-1] + 1)
    steps = steps.scatter_add(-1, ends, torch.ones_like(ends))
    return steps.cumsum(-1)[..., :-1].expand(shape).contiguous()
