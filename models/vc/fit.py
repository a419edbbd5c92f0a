# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""What a stage trains, on what, and for how long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from lightning.pytorch import LightningModule

from models.training.batches import Batches

__all__ = ["Fit"]

Training = TypeVar("Training", bound=LightningModule, covariant=True)


@dataclass(frozen=True)
class Fit(Generic[Training]):
    """What a stage trains, on what, and for how long.

    Attributes:
        training: The module, with its loss.
        batches: The data.
        epochs: Number of epochs.
    """

    training: Training
    batches: Batches
    epochs: int
