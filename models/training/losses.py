# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Losses of a batch, and how they are logged."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

__all__ = ["LossTraining", "ObjectiveTraining", "per_epoch"]


def per_epoch(batch_size: int) -> dict[str, Any]:
    """Arguments for ``LightningModule.log``: the mean over an epoch and all processes.

    Args:
        batch_size: Number of rows of the batch.
    """
    return {"on_step": False, "on_epoch": True, "sync_dist": True, "batch_size": batch_size}


class LossTraining(LightningModule):
    """Minimises a loss of batches of tensors, whose rows are in memory.

    What a step does depends on tensors alone, so that a GPU can do it again without being told
    (:mod:`models.training.captured`).

    Attributes:
        step: Number of steps that are done, int64, shape ``()``.
        num_steps: Number of steps of the whole training; set by the stage.
    """

    step: Tensor
    num_steps: int = 0

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("step", torch.zeros((), dtype=torch.long))

    def changed(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Change the rows of a batch at random, each on its own; as they are if not overridden."""
        return batch

    @abstractmethod
    def losses(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Give the ``loss`` of a batch that was changed, a mean over rows, and its terms."""

    def on_train_start(self) -> None:
        """Undo what a checkpoint of captured steps says of their optimiser."""
        for group in self.trainer.optimizers[0].param_groups:
            group["capturable"] = False
            group["lr"] = float(group["lr"])

    def training_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> Tensor:
        """Give the loss of a batch, and log it with its terms."""
        losses = self.losses(self.changed(batch))
        self.step += 1
        self.log_dict(losses, **per_epoch(len(batch[0])))
        return losses["loss"]


class ObjectiveTraining(LightningModule):
    """Minimises an objective per row of a batch, such as the negative ELBO.

    Attributes:
        objective: Gives the objective of a batch, summed over its rows; set by the subclass.
    """

    objective: nn.Module

    def row_loss(self, *batch: Tensor) -> Tensor:
        """Give the mean objective of the rows of a batch, and log it."""
        num_rows = len(batch[0])
        loss: Tensor = self.objective(*batch) / num_rows
        self.log("loss", loss, **per_epoch(num_rows))
        return loss
