# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Devices and machines that a training runs on.

With several devices every one has a process, all of which run the whole script: they read the same
data, train together and come to the same weights, and the first alone writes files. Of every batch
a process takes its own part, so that a random partition of the elements of a batch becomes one
partition for each process, of its own part.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from lightning.fabric import Fabric
from lightning.fabric.utilities.apply_func import apply_to_collection
from torch import Tensor

__all__ = ["Hardware", "own_part"]


@dataclass(frozen=True)
class Hardware:
    """Where to train, in Lightning's terms.

    Attributes:
        accelerator: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        devices: Number of devices of a machine; processes, where they are no GPUs.
        num_nodes: Number of machines.
        strategy: ``"auto"`` or ``"ddp"``; several devices train by DDP in any case.
    """

    accelerator: str = "auto"
    devices: int = 1
    num_nodes: int = 1
    strategy: str = "auto"

    @property
    def num_processes(self) -> int:
        """Number of processes that train together."""
        return self.devices * self.num_nodes

    @property
    def has_one_gpu(self) -> bool:
        """Whether a single GPU trains."""
        wanted = self.accelerator != "cpu" and self.num_processes == 1
        return wanted and torch.cuda.is_available()

    def arguments(self) -> dict[str, Any]:
        """Arguments for Lightning's ``Trainer`` and ``Fabric``."""
        # Not all parameters have a gradient in every stage: some are frozen, some not used.
        ddp = self.strategy == "ddp" or self.num_processes > 1
        return {
            "accelerator": self.accelerator,
            "devices": self.devices,
            "num_nodes": self.num_nodes,
            "strategy": "ddp_find_unused_parameters_true" if ddp else "auto",
        }

    @contextmanager
    def processes(self) -> Iterator[None]:
        """Start the other processes, unless a launcher such as torchrun has done so.

        They run the script from its beginning and all wait for each other here, so that what the
        first process has prepared before is there for all.
        """
        if self.num_processes > 1:
            fabric = Fabric(**self.arguments())
            fabric.launch()
            fabric.barrier()
        yield


def own_part(batch: Any, rank: int, num_processes: int) -> Any:
    """Give the rows of a batch that are a process's own.

    The parts are of the same size; where the rows do not suffice, the first are taken again.

    Args:
        batch: A tensor, or a collection of tensors of as many rows.
        rank: Number of the process, from 0.
        num_processes: Number of processes.

    Example:
        >>> [own_part(torch.arange(5), rank, 2).tolist() for rank in range(2)]
        [[0, 2, 4], [1, 3, 0]]
    """

    def rows(tensor: Tensor) -> Tensor:
        number = -(-len(tensor) // num_processes) * num_processes
        index = torch.arange(rank, number, num_processes, device=tensor.device)
        return tensor[index % len(tensor)]

    return apply_to_collection(batch, Tensor, rows)
