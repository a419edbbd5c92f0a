# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The batches of a stage: any iterable with a length, so that a stage may draw data as it goes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor

from models.training.hardware import own_part
from models.training.seeds import EpochSeeds, derive_seed

__all__ = ["Batches", "LateBatches", "ShuffledBatches"]


class Batches(Protocol):
    """Batches of an epoch: every iteration draws new ones, from the global generators alone."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Any]: ...


class ShuffledBatches:
    """Mini-batches of tensors in memory, in a random order.

    Args:
        tensors: The data, ``n`` rows each; a batch holds the same rows of all.
        batch_size: Number of rows of a batch, at most ``n`` of them.
        drop_last: Whether to leave out a last, smaller batch.
    """

    def __init__(
        self, tensors: tuple[Tensor, ...], batch_size: int, drop_last: bool = False
    ) -> None:
        self.tensors = tensors
        self.batch_size = min(batch_size, len(tensors[0]))
        self.drop_last = drop_last

    def __len__(self) -> int:
        full, rest = divmod(len(self.tensors[0]), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        for rows in self.split(self.order()):
            yield tuple(tensor[rows] for tensor in self.tensors)

    def order(self) -> Tensor:
        """Draw the order of the rows in an epoch, shape ``(n,)``."""
        return torch.randperm(len(self.tensors[0]))

    def split(self, order: Tensor) -> tuple[Tensor, ...]:
        """Give the rows of each batch of an epoch."""
        return order.split(self.batch_size)[: len(self)]


class LateBatches:
    """Begins an iteration with its first batch, for which Lightning asks after seeding the epoch.

    It asks for the iterator itself before that, and some iterables draw numbers for it. Of several
    processes all draw the same batches, from random numbers that are seeded apart, and each keeps
    its own part.
    """

    def __init__(self, batches: Batches, seeds: EpochSeeds, num_processes: int) -> None:
        self.batches, self.seeds, self.num_processes = batches, seeds, num_processes

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        yield from self.batches if self.num_processes == 1 else self._own_parts()

    def _own_parts(self) -> Iterator[Any]:
        gpu = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        batches: Iterator[Any] | None = None
        for step in range(len(self)):
            with torch.random.fork_rng(gpu):
                torch.manual_seed(derive_seed(self.seeds.of_epoch, "batch", step))
                if batches is None:
                    batches = iter(self.batches)
                batch = next(batches)
            yield own_part(batch, self.seeds.rank, self.num_processes)
