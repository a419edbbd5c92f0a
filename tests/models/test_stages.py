# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Training stages: exact resumption whatever the batches are, checkpoints, seeds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyro
import pytest
import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from models.training.batches import Batches, ShuffledBatches
from models.training.seeds import derive_seed
from models.training.stages import Stage, read_checkpoint
from tests.models.training_checks import CPU

EPOCHS = 5


class NoisyRegression(LightningModule):
    """Draws random numbers in every step; raises in one of them if asked to."""

    def __init__(self, fatal_step: int | None = None) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(2))
        self.fatal_step = fatal_step

    def training_step(self, batch: tuple[Tensor], batch_idx: int) -> Tensor:
        if self.global_step == self.fatal_step:
            raise KilledError
        (rows,) = batch
        loss = ((rows @ self.weight - torch.randn(len(rows))) ** 2).mean()
        self.log("loss", loss, on_step=False, on_epoch=True, batch_size=len(rows))
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 0.1)


class KilledError(Exception):
    """Stands for whatever ends a process."""


class DrawnBatches:
    """Three random batches per epoch, drawn one after the other."""

    def __len__(self) -> int:
        return 3

    def __iter__(self) -> Iterator[tuple[Tensor]]:
        return (self.draw() for _ in range(len(self)))

    def draw(self) -> tuple[Tensor]:
        return (torch.randn(4, 2),)


class BatchesDrawnAtOnce(DrawnBatches):
    """Draws all batches as soon as it is asked for an iterator."""

    def __iter__(self) -> Iterator[tuple[Tensor]]:
        return iter([self.draw() for _ in range(len(self))])


ROWS = torch.arange(22.0).view(11, 2)
BATCHES = [ShuffledBatches((ROWS,), 4), DrawnBatches(), BatchesDrawnAtOnce()]


def train(
    directory: Path, batches: Batches, unrelated_seed: int, fatal_step: int | None = None
) -> tuple[dict[str, list[float]], Tensor]:
    """Learning curves and weights after a training that follows on unrelated random numbers."""
    pyro.set_rng_seed(unrelated_seed)
    module = NoisyRegression(fatal_step)
    stage = Stage("fit", directory, seed=0, epochs=EPOCHS, checkpoint_every=2, hardware=CPU)
    return stage.fit(module, batches), module.weight.detach()


@pytest.mark.parametrize("batches", BATCHES, ids=lambda b: type(b).__name__)
@pytest.mark.parametrize("fatal_step", [1, 7, 13])
def test_a_killed_stage_ends_with_the_same_curves_and_weights(
    tmp_path: Path, batches: Batches, fatal_step: int
) -> None:
    curves, weight = train(tmp_path / "finished", batches, 1)
    with pytest.raises(KilledError):
        train(tmp_path / "killed", batches, 2, fatal_step)
    assert (tmp_path / "killed" / "fit.ckpt").exists() == (fatal_step > 2 * len(batches))
    resumed_curves, resumed_weight = train(tmp_path / "killed", batches, 3)
    assert len(curves["loss"]) == EPOCHS
    assert resumed_curves == curves
    assert torch.equal(resumed_weight, weight)


def test_a_finished_stage_only_loads_its_checkpoint(tmp_path: Path) -> None:
    finished = train(tmp_path, DrawnBatches(), 1)
    curves, weight = train(tmp_path, DrawnBatches(), 2, fatal_step=3 * EPOCHS)
    assert curves == finished[0] and torch.equal(weight, finished[1])


def test_every_epoch_draws_other_batches(tmp_path: Path) -> None:
    drawn: list[Tensor] = []

    class Recorded(DrawnBatches):
        def draw(self) -> tuple[Tensor]:
            drawn.append(super().draw()[0])
            return (drawn[-1],)

    train(tmp_path, Recorded(), 1)
    assert len({tuple(batch.flatten().tolist()) for batch in drawn}) == 3 * EPOCHS


def test_the_progress_bar_counts_drawn_batches(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path, DrawnBatches(), 1)
    assert f"{3 * EPOCHS}/{3 * EPOCHS}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("batch_size", "drop_last", "lengths"),
    [(4, False, [4, 4, 3]), (4, True, [4, 4]), (50, True, [11])],
)
def test_shuffled_batches_hold_every_row_once(
    batch_size: int, drop_last: bool, lengths: list[int]
) -> None:
    pyro.set_rng_seed(0)
    batches = ShuffledBatches((ROWS, 2 * ROWS), batch_size, drop_last)
    epoch, next_epoch = list(batches), list(batches)
    assert len(batches) == len(lengths)
    assert [len(rows) for rows, _ in epoch] == lengths
    assert all(torch.equal(2 * rows, doubled) for rows, doubled in epoch)
    seen = torch.cat([rows[:, 0] for rows, _ in epoch])
    assert len(set(seen.tolist())) == sum(lengths)
    assert not torch.equal(seen, torch.cat([rows[:, 0] for rows, _ in next_epoch]))


def test_epochs_and_stages_have_different_seeds() -> None:
    stages = ("pretrain", "vade", "drpm")
    seeds = {
        derive_seed(seed, stage, epoch)
        for seed in range(5)
        for stage in stages
        for epoch in range(20)
    }
    assert len(seeds) == 5 * len(stages) * 20
    assert derive_seed(1, "drpm", 2) == derive_seed(1, "drpm", 2)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "fit.ckpt"
    torch.save({"stage": "fit", "state_dict": {"weight": torch.arange(1000.0)}}, path)
    read_checkpoint(path)
    return path


@pytest.mark.parametrize("damage", ["truncated", "corrupt", "empty"])
def test_a_damaged_checkpoint_is_refused(checkpoint: Path, damage: str) -> None:
    content = bytearray(checkpoint.read_bytes())
    middle = len(content) // 2
    if damage == "corrupt":
        content[middle : middle + 8] = b"\xff" * 8
    else:
        del content[middle if damage == "truncated" else 0 :]
    checkpoint.write_bytes(content)
    with pytest.raises(ValueError, match=r"fit\.ckpt cannot be read"):
        read_checkpoint(checkpoint)


def test_a_checkpoint_of_something_else_is_refused(checkpoint: Path) -> None:
    other = checkpoint.rename(checkpoint.with_name("other.ckpt"))
    with pytest.raises(ValueError, match=r"no checkpoint of the stage other, but of fit"):
        read_checkpoint(other)
    torch.save({"weights": torch.zeros(3)}, other)
    with pytest.raises(ValueError, match=r"no checkpoint of the stage other, but of None"):
        read_checkpoint(other)


def test_a_checkpoint_executes_no_code(checkpoint: Path, tmp_path: Path) -> None:
    torch.save({"stage": "fit", "payload": Payload(tmp_path / "executed")}, checkpoint)
    with pytest.raises(ValueError, match=r"fit\.ckpt cannot be read"):
        read_checkpoint(checkpoint)
    assert not (tmp_path / "executed").exists()


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_denormal_numbers_are_zero_in_a_training_and_only_there(tmp_path: Path) -> None:
    halves: list[Tensor] = []
    batches = ShuffledBatches((ROWS,), 4)

    class Halving(NoisyRegression):
        def on_train_batch_end(self, *args: Any) -> None:
            halves.append(smallest / 2)

    smallest = torch.tensor(torch.finfo(torch.float32).tiny)
    stage = Stage("fit", tmp_path, seed=0, epochs=1, hardware=CPU)
    stage.fit(Halving(), batches)
    assert halves and not torch.stack(halves).any()
    assert smallest / 2 > 0
    with pytest.raises(KilledError):
        Stage("killed", tmp_path, seed=0, epochs=1, hardware=CPU).fit(Halving(0), batches)
    assert smallest / 2 > 0
    torch.set_flush_denormal(True)
    try:
        Stage("again", tmp_path, seed=0, epochs=1, hardware=CPU).fit(Halving(), batches)
        assert smallest / 2 == 0
    finally:
        torch.set_flush_denormal(False)
