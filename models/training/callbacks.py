# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""What happens beside the training of a stage: metrics, checkpoints, a progress bar."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, Checkpoint, ProgressBar
from tqdm import tqdm

from models.training.failures import require_finite

__all__ = ["EpochCheckpoint", "FiniteNumbers", "History", "StageProgress"]


class History(Callback):
    """Keeps the metrics of all epochs, in the checkpoint as well."""

    def __init__(self) -> None:
        self.metrics: dict[str, list[float]] = {}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for name, value in trainer.callback_metrics.items():
            self.metrics.setdefault(name, []).append(float(value))

    def state_dict(self) -> dict[str, Any]:
        return {"metrics": self.metrics}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.metrics = state_dict["metrics"]


class FiniteNumbers(Callback):
    """Ends a training that has diverged, once an epoch: every look waits for the GPU."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epoch = f"of epoch {trainer.current_epoch + 1}"
        require_finite(f"the metrics {epoch}", torch.stack([*trainer.callback_metrics.values()]))
        for parameter in pl_module.parameters():
            require_finite(f"the weights at the end {epoch}", parameter)


class EpochCheckpoint(Checkpoint):
    """Writes the checkpoint at the end of every so many epochs and of the last one.

    Lightning's ``ModelCheckpoint`` leaves out a last epoch that is no multiple of its interval.
    """

    def __init__(self, path: Path, every: int) -> None:
        self.path, self.every = path, every

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["stage"] = self.path.stem

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        done = trainer.current_epoch + 1
        if done % self.every == 0 or done == trainer.max_epochs:
            trainer.save_checkpoint(self.path)


class StageProgress(ProgressBar):
    """One progress bar for all epochs of a stage.

    Args:
        description: What it says.
        enabled: Whether there is to be any.
    """

    def __init__(self, description: str, enabled: bool = True) -> None:
        super().__init__()
        self.description = description
        self.enabled = enabled
        self.bar: tqdm[Any] | None = None

    def disable(self) -> None:
        """Stay away; Lightning says so to all processes but the first."""
        self.enabled = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.enabled:
            return
        total = trainer.num_training_batches * (trainer.max_epochs or 0)
        self.bar = tqdm(
            total=total,
            initial=trainer.current_epoch * int(trainer.num_training_batches),
            desc=self.description,
            unit="step" if int(trainer.num_training_batches) > 1 else "epoch",
            mininterval=0.5,
            dynamic_ncols=True,
        )

    def on_train_batch_end(self, *args: Any) -> None:
        if self.bar is not None:
            self.bar.update()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.bar is not None:
            self.bar.set_postfix(loss=f"{trainer.callback_metrics['loss']:.4g}", refresh=False)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.close()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self.close()  # what is said about it shall not go on in the line of the bar

    def close(self) -> None:
        """Leave the line of the bar."""
        if self.bar is not None:
            self.bar.close()
