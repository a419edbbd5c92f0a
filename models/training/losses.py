# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Losses of a batch, and how they are logged."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import LightningModule
from torch import Tensor, nn

__all__ = ["ObjectiveTraining", "per_epoch"]


def per_epoch(batch_size: int) -> dict[str, Any]:
    """Arguments for ``LightningModule.log``: the mean over an epoch and all processes.

    Args:
        batch_size: Number of rows of the batch.
    """
    return {"on_step": False, "on_epoch": True, "sync_dist": True, "batch_size": batch_size}


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
