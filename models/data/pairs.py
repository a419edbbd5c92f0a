# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Sources of pairs of images: those that share known factors, or pairs of one's own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from models.data.factors import FactorImages, ImagePair, SharedFactors
from models.data.items import held_out

__all__ = ["FactorPairs", "OwnPairs", "PairSource"]

_BATCH = 500


class PairSource(Protocol):
    """Pairs of images.

    Attributes:
        image_shape: Channels, height and width.
        device: Where images are made.
    """

    @property
    def image_shape(self) -> tuple[int, int, int]: ...

    @property
    def device(self) -> torch.device: ...

    def sample(self, number: int) -> ImagePair:
        """Draw pairs at random."""
        ...

    def batches(self, number: int) -> Iterator[ImagePair]:
        """Give pairs to look at: so many at random, or all that there are."""
        ...


@dataclass(frozen=True)
class FactorPairs:
    """Pairs that have some of the factors of a dataset in common.

    Attributes:
        data: The dataset.
        n_shared: Number of shared factors.
        shared_factors: Which ones, see :meth:`FactorImages.sample_pair`.
    """

    data: FactorImages
    n_shared: int
    shared_factors: SharedFactors = "first"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.data.image_shape

    @property
    def device(self) -> torch.device:
        return self.data.device

    def sample(self, number: int) -> ImagePair:
        return self.data.sample_pair(self.n_shared, number, self.shared_factors)

    def batches(self, number: int) -> Iterator[ImagePair]:
        for start in range(0, number, _BATCH):
            yield self.sample(min(_BATCH, number - start))


@dataclass(frozen=True, eq=False)
class OwnPairs:
    """Pairs of one's own, and their factors if these are known.

    Attributes:
        images: Pixels in ``[0, 1]``, float32, shape ``(N, 2, C, H, W)``.
        ids: Name of every pair.
        factors: Values of the factors, int64, shape ``(N, 2, F)``; without any ``F`` is 0.
    """

    images: Tensor
    ids: tuple[str, ...]
    factors: Tensor

    @property
    def image_shape(self) -> tuple[int, int, int]:
        channels, height, width = self.images.shape[2:]
        return channels, height, width

    @property
    def device(self) -> torch.device:
        return self.images.device

    def __len__(self) -> int:
        return len(self.images)

    def sample(self, number: int) -> ImagePair:
        """Draw pairs at random, each as often as it comes."""
        return self.take(torch.randint(len(self), (number,), device=self.device))

    def take(self, rows: Tensor) -> ImagePair:
        """Give pairs by their numbers; factors are shared where both views have the same value."""
        factors = self.factors[rows]
        return ImagePair(self.images[rows], factors, factors[:, 0] == factors[:, 1])

    def batches(self, number: int) -> Iterator[ImagePair]:
        for rows in torch.arange(len(self), device=self.device).split(_BATCH):
            yield self.take(rows)

    def split(self) -> tuple[OwnPairs, OwnPairs]:
        """Give the pairs to train on, and every fifth, to look at what came of it."""
        is_test = held_out(len(self))
        return self._select(~is_test), self._select(is_test)

    def _select(self, which: Tensor) -> OwnPairs:
        ids = tuple(name for name, chosen in zip(self.ids, which.tolist(), strict=True) if chosen)
        which = which.to(self.device)
        return OwnPairs(self.images[which], ids, self.factors[which])

    def to(self, device: torch.device | str) -> OwnPairs:
        """Give the same on a device."""
        return OwnPairs(self.images.to(device), self.ids, self.factors.to(device))
