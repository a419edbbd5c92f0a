# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Captured training steps do what steps do that are not captured.

Without a GPU the operations of a step are recorded and repeated, on the same tensors and with all
other values as they were: what a CUDA graph would do.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from models.training import captured
from models.training.batches import ShuffledBatches
from models.training.hardware import Hardware
from models.training.losses import LossTraining
from models.training.schedule import scheduled
from models.training.stages import Stage
from models.vc import train
from pyro_drpm.infer import temperature
from tests.models.training_checks import CPU, as_on_a_gpu, read_curves
from tests.models.vc_runs import SEED, run

EPOCHS = 6
ROWS = torch.arange(26.0).view(13, 2) / 26


class Recording:
    """Stands for a step that is captured the second time that it is done."""

    def __init__(self, run: Callable[[Tensor], None], index: Tensor) -> None:
        self.run, self.index, self.times = run, index.clone(), 0

    def __call__(self, index: Tensor) -> None:
        self.index.copy_(index)
        self.times += 1
        if self.times == 1:
            self.run(self.index)
        elif self.times == 2:
            self.repeat = make_fx(lambda: self.run(self.index))()
        else:
            with torch.no_grad():  # what derivatives there are has been recorded
                self.repeat()


def record(patch: pytest.MonkeyPatch) -> None:
    """Have trainings on the CPU captured."""
    patch.setattr(captured, "_Step", Recording)
    patch.setattr(Hardware, "has_one_gpu", True)
    as_on_a_gpu(patch)


class Regression(LossTraining):
    """Linear regression, whose targets change with the step."""

    curves: dict[str, list[float]]

    def __init__(self, schedule: str) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(2))
        self.schedule = schedule
        self.changes = 0

    def changed(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        self.changes += 1
        return batch

    def losses(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        (rows,) = batch
        loss = ((rows @ self.weight - 3.0 / (1 + self.step)) ** 2).mean()
        return {"loss": loss, "twice": 2 * loss}

    def configure_optimizers(self) -> OptimizerLRScheduler:
        adam = torch.optim.Adam(self.parameters(), 0.1, fused=True)
        if self.schedule == "epochs":
            halved = torch.optim.lr_scheduler.StepLR(adam, step_size=2, gamma=0.5)
            return {"optimizer": adam, "lr_scheduler": halved}
        return scheduled(adam, "cosine", self.num_steps)


def fit(
    directory: Path,
    schedule: str,
    epochs: int = EPOCHS,
    drop_last: bool = False,
    hardware: Hardware = CPU,
) -> Regression:
    training = Regression(schedule)
    stage = Stage("fit", directory, seed=0, epochs=epochs, hardware=hardware, progress=False)
    training.curves = stage.fit(training, ShuffledBatches((ROWS,), 4, drop_last))
    return training


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("schedule", ["epochs", "steps"])
def test_captured_steps(
    schedule: str, drop_last: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = fit(tmp_path / "plain", schedule, drop_last=drop_last)
    record(monkeypatch)
    training = fit(tmp_path / "captured", schedule, drop_last=drop_last)
    torch.testing.assert_close(training.weight, plain.weight)
    for name in ("loss", "twice"):
        assert training.curves[name] == pytest.approx(plain.curves[name], rel=1e-6)
    assert training.step == plain.step == EPOCHS * (3 if drop_last else 4)
    assert training.changes == EPOCHS  # all rows at once


def test_checkpoints_of_captured_and_of_other_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fit(tmp_path / "whole", "epochs")
    for captured_first in (True, False):
        directory = tmp_path / f"{captured_first}"
        for epochs, is_captured in ((4, captured_first), (EPOCHS, not captured_first)):
            with monkeypatch.context() as patch:
                if is_captured:
                    record(patch)
                training = fit(directory, "epochs", epochs)
        torch.testing.assert_close(training.weight, whole.weight)
        assert training.curves["loss"] == pytest.approx(whole.curves["loss"], rel=1e-6)
        assert training.step == whole.step


@pytest.mark.parametrize(
    "options",
    [
        ("--preset", "paper", "--refit-every", "2", "--anneal-steps", "20", "--beta-steps", "12"),
        ("--trained-layers", "heads", "--schedule", "cosine", "--num-particles", "2"),
    ],
    ids=["paper", "affinities"],
)
def test_trainings_of_drpm_vc(
    options: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not categorical: one_hot looks at values on a CPU, though not on a GPU.
    methods = ("vade", "vade-frozen", "drpm")
    sizes = ("--num-clusters", "3", "--epochs", "4", "--pretrain-epochs", "1")
    arguments = (*options, *sizes, "--methods", *methods)
    run(tmp_path / "plain", *arguments)
    record(monkeypatch)
    temperatures: list[object] = []
    monkeypatch.setattr(train, "temperature", lambda value: spy(value, temperatures))
    pretrained = ("--pretrained", str(tmp_path / "plain"))
    run(tmp_path / "captured", *arguments, *pretrained)
    plain, recorded = (tmp_path / name / SEED for name in ("plain", "captured"))
    for method in methods:
        losses, others = (
            [float(loss) for loss in read_curves(directory)[method]]
            for directory in (plain, recorded)
        )
        assert len(set(losses)) == len(losses) and others == pytest.approx(losses, rel=1e-4)
    assert temperatures and all(
        isinstance(value, Tensor) for value in temperatures
    )  # no number that stays


def spy(value: Tensor, values: list[object]) -> temperature:
    values.append(value)
    return temperature(value)


class MeanOfChangedRows(Regression):
    """Has the mean of the rows for a loss, which no weight changes."""

    def __init__(self) -> None:
        super().__init__("epochs")
        self.means: list[float] = []

    def changed(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        rows = batch[0] + torch.rand_like(batch[0])
        self.means.append(float(rows.mean()))
        return (rows,)

    def losses(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        return {"loss": batch[0].mean() + 0 * self.weight.sum()}


def test_rows_change_in_every_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(monkeypatch)
    training = MeanOfChangedRows()
    stage = Stage("fit", tmp_path, seed=0, epochs=EPOCHS, hardware=CPU, progress=False)
    metrics = stage.fit(training, ShuffledBatches((ROWS,), 4))
    assert len(set(training.means)) == EPOCHS
    assert metrics["loss"] == pytest.approx(training.means, rel=1e-6)
