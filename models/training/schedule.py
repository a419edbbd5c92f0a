# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""How the learning rate changes over a training."""

from __future__ import annotations

from typing import Literal

from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR

__all__ = ["Schedule", "scheduled"]

Schedule = Literal["cosine", "constant"]


def scheduled(optimizer: Optimizer, schedule: Schedule, num_steps: int) -> OptimizerLRScheduler:
    """Give what Lightning takes: an optimiser, and whether its learning rate falls.

    Args:
        optimizer: The optimiser, with the learning rate of the first step.
        schedule: ``"constant"``, or ``"cosine"``: half a wave, down to 0.
        num_steps: Number of steps of the training.
    """
    if schedule == "constant":
        return optimizer
    cosine = CosineAnnealingLR(optimizer, num_steps)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cosine, "interval": "step"}}
