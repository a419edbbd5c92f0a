# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Seeds of all random numbers of a run."""

from __future__ import annotations

import zlib

import numpy as np
import pyro
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

__all__ = ["EpochSeeds", "derive_seed"]


def derive_seed(seed: int, stage: str, epoch: int = 0) -> int:
    """Seed of an epoch of a stage, different for each."""
    entropy = (seed, zlib.crc32(stage.encode()), epoch)
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])


class EpochSeeds(Callback):
    """Seeds every epoch, and every process on its own.

    Attributes:
        of_epoch: Seed of the epoch, the same for all processes.
        rank: Number of the process.
    """

    of_epoch: int
    rank: int

    def __init__(self, seed: int, stage: str) -> None:
        self.seed, self.stage = seed, stage

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.rank = trainer.global_rank
        self.of_epoch = derive_seed(self.seed, self.stage, trainer.current_epoch)
        pyro.set_rng_seed(
            derive_seed(self.of_epoch, "process", self.rank) if self.rank else self.of_epoch
        )
