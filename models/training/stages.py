# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Training stages that can be killed at any moment and resumed.

A stage trains one Lightning module and writes ``<name>.ckpt`` into the directory of its run, always
at the end of an epoch. Every epoch seeds all random number generators from the seed of the run, the
name of the stage and its own number, so what an epoch does depends on nothing but the checkpoint it
starts from: a resumed training repeats the one that was never killed.
"""

from __future__ import annotations

import zipfile
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyro
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from models.training.batches import Batches, LateBatches, ShuffledBatches
from models.training.callbacks import EpochCheckpoint, FiniteNumbers, History, StageProgress
from models.training.captured import CapturedTraining, WholeEpochs
from models.training.denormals import denormals_flushed
from models.training.failures import stage_errors
from models.training.hardware import Hardware
from models.training.losses import LossTraining
from models.training.seeds import EpochSeeds

__all__ = ["Stage", "read_archive", "read_checkpoint"]


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read the checkpoint of the stage that a file is named after, onto the CPU.

    Raises:
        ValueError: If the file is truncated, corrupt, or something else.
    """
    checkpoint = read_archive(path)
    stage = checkpoint.get("stage")
    if stage != path.stem:
        raise ValueError(f"{path} is no checkpoint of the stage {path.stem}, but of {stage}")
    return checkpoint


def read_archive(path: Path) -> dict[str, Any]:
    """Read what was saved by PyTorch under names, onto the CPU, and without running any code of it.

    Raises:
        ValueError: If the file is missing, truncated, corrupt, or holds something else.
    """
    try:
        # PyTorch does not compare checksums, and would go on with flipped bits.
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        content = None if damaged else torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ValueError(f"{path} does not exist") from error
    except Exception as error:  # whatever the readers stumble over
        raise ValueError(f"{path} cannot be read: it is truncated or corrupt") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} cannot be read: it is corrupt, or holds something else")
    return content


@dataclass(frozen=True)
class Stage:
    """One training of a run.

    Attributes:
        name: Names the checkpoint and the logs.
        directory: Directory of the checkpoint and the logs.
        seed: Seed of the repetition.
        epochs: Number of epochs.
        checkpoint_every: Number of epochs from one checkpoint to the next; the last epoch always
            writes one.
        hardware: Where to train.
        title: Of the progress bar, before the seed and the name.
        remedy: What to do if the training diverges.
        progress: Whether to show a progress bar.
    """

    name: str
    directory: Path
    seed: int
    epochs: int
    checkpoint_every: int = 1
    hardware: Hardware = Hardware()
    title: str = ""
    remedy: str = "a smaller learning rate may help"
    progress: bool = True

    @property
    def checkpoint(self) -> Path:
        """Path of the checkpoint."""
        return self.directory / f"{self.name}.ckpt"

    def fit(self, module: LightningModule, batches: Batches) -> dict[str, list[float]]:
        """Train a module, from its checkpoint if there is one.

        Args:
            module: What to train; it logs its metrics per epoch, ``loss`` among them.
            batches: The data.

        Returns:
            The logged metrics of every epoch.

        Raises:
            StageError: If the training diverges, which is looked for at the end of every epoch,
                before the checkpoint.
        """
        module, batches = self._captured(module, batches)
        history, seeds = History(), EpochSeeds(self.seed, self.name)
        trainer = Trainer(
            **self.hardware.arguments(),
            max_epochs=self.epochs,
            logger=TensorBoardLogger(self.directory / "logs", name=self.name, version=""),
            callbacks=[
                seeds,
                StageProgress(f"{self.title} seed {self.seed} {self.name}".lstrip(), self.progress),
                history,
                FiniteNumbers(),
                EpochCheckpoint(self.checkpoint, self.checkpoint_every),
            ],
            enable_model_summary=False,
            log_every_n_steps=1,
        )
        ckpt_path = self.checkpoint if self.checkpoint.exists() else None
        late = LateBatches(batches, seeds, self.hardware.num_processes)
        # Checks of values would wait for the GPU, which no capture can.
        is_captured = isinstance(module, CapturedTraining)
        checks = pyro.validation_enabled(False) if is_captured else nullcontext()
        with stage_errors(self.name, self.remedy), checks, denormals_flushed():
            trainer.fit(module, late, ckpt_path=ckpt_path, weights_only=True)
        return history.metrics

    def _captured(
        self, module: LightningModule, batches: Batches
    ) -> tuple[LightningModule, Batches]:
        """Give what to train where a GPU can replay the steps, or the same."""
        if not isinstance(module, LossTraining):
            return module, batches
        module.num_steps = self.epochs * len(batches)
        if not (self.hardware.has_one_gpu and isinstance(batches, ShuffledBatches)):
            return module, batches
        return CapturedTraining(module, batches), WholeEpochs(batches)
