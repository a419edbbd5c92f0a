# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Training stages that can be killed at any moment and resumed.

A stage trains one Lightning module and writes ``<name>.ckpt`` into the directory of its run, always
at the end of an epoch. Every epoch seeds all random number generators from the seed of the run, the
name of the stage and its own number, so what an epoch does depends on nothing but the checkpoint it
starts from: a resumed training repeats the one that was never killed.

The batches of a stage are any iterable with a length, so that a stage may draw its data as it goes.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyro
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, Checkpoint, ProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from tqdm import tqdm

from models.failures import require_finite, stage_errors
from models.hardware import Hardware, own_part

__all__ = ["Batches", "ShuffledBatches", "Stage", "check_checkpoint", "derive_seed", "per_epoch"]


def per_epoch(batch_size: int) -> dict[str, Any]:
    """Arguments for ``LightningModule.log``: the mean over an epoch and all processes.

    Args:
        batch_size: Number of rows of the batch.
    """
    return {"on_step": False, "on_epoch": True, "sync_dist": True, "batch_size": batch_size}


def derive_seed(seed: int, stage: str, epoch: int = 0) -> int:
    """Seed of an epoch of a stage, different for each."""
    entropy = (seed, zlib.crc32(stage.encode()), epoch)
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])


def check_checkpoint(path: Path) -> None:
    """Make sure that a file is a checkpoint of the stage that it is named after.

    Raises:
        ValueError: If the file is truncated, corrupt, or something else.
    """
    try:
        stage = _read_stage(path)
    except Exception as error:  # whatever the readers stumble over
        raise ValueError(f"checkpoint {path} cannot be read: it is truncated or corrupt") from error
    if stage != path.stem:
        raise ValueError(f"{path} is no checkpoint of the stage {path.stem}, but of {stage}")


def _read_stage(path: Path) -> str | None:
    # PyTorch does not compare checksums, and would train on with flipped bits.
    with zipfile.ZipFile(path) as archive:
        if damaged := archive.testzip():
            raise ValueError(f"wrong checksum of {damaged}")
    # Lightning loads it without executing pickled code, too.
    return torch.load(path, map_location="cpu", weights_only=True).get("stage")


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
        order = torch.randperm(len(self.tensors[0]))
        for rows in order.split(self.batch_size)[: len(self)]:
            yield tuple(tensor[rows] for tensor in self.tensors)


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
    """

    name: str
    directory: Path
    seed: int
    epochs: int
    checkpoint_every: int = 1
    hardware: Hardware = Hardware()
    title: str = ""
    remedy: str = "a smaller learning rate may help"

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
        history, seeds = _History(), _EpochSeeds(self.seed, self.name)
        trainer = Trainer(
            **self.hardware.arguments(),
            max_epochs=self.epochs,
            logger=TensorBoardLogger(self.directory / "logs", name=self.name, version=""),
            callbacks=[
                seeds,
                _StageProgress(f"{self.title} seed {self.seed} {self.name}".lstrip()),
                history,
                _FiniteNumbers(),
                _EpochCheckpoint(self.checkpoint, self.checkpoint_every),
            ],
            enable_model_summary=False,
            log_every_n_steps=1,
        )
        ckpt_path = self.checkpoint if self.checkpoint.exists() else None
        late = _LateBatches(batches, seeds, self.hardware.num_processes)
        with stage_errors(self.name, self.remedy):
            trainer.fit(module, late, ckpt_path=ckpt_path, weights_only=True)
        return history.metrics


class _LateBatches:
    """Begins an iteration with its first batch, for which Lightning asks after seeding the epoch.

    It asks for the iterator itself before that, and some iterables draw numbers for it. Of several
    processes all draw the same batches, from random numbers that are seeded apart, and each keeps
    its own part.
    """

    def __init__(self, batches: Batches, seeds: _EpochSeeds, num_processes: int) -> None:
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


class _EpochSeeds(Callback):
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


class _History(Callback):
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


class _FiniteNumbers(Callback):
    """Ends a training that has diverged, once an epoch: every look waits for the GPU."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epoch = f"of epoch {trainer.current_epoch + 1}"
        require_finite(f"the metrics {epoch}", torch.stack([*trainer.callback_metrics.values()]))
        for parameter in pl_module.parameters():
            require_finite(f"the weights at the end {epoch}", parameter)


class _EpochCheckpoint(Checkpoint):
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


class _StageProgress(ProgressBar):
    """One progress bar for all epochs of a stage."""

    def __init__(self, description: str) -> None:
        super().__init__()
        self.description = description
        self.enabled = True
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
            initial=trainer.global_step,
            desc=self.description,
            unit="step",
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
