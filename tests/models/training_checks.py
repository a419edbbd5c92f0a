# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""What the tests of all training scripts need: kills, results, and lines of error."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from models.training.hardware import Hardware
from pyro_drpm.ops import host
from pyro_drpm.ops.assignment import subset_sums

__all__ = [
    "CPU",
    "Killed",
    "as_on_a_gpu",
    "assert_help_shows",
    "error_line",
    "kill_in",
    "one_thread",
    "read_csv",
    "read_curves",
    "run_killed",
]


CPU = Hardware("cpu")


class Killed(Exception):
    """Stands for whatever ends a process."""


def kill_in(patch: pytest.MonkeyPatch, training: type, stage: str, step: int) -> None:
    """Make a training raise in the middle of a stage."""
    original = training.training_step  # type: ignore[attr-defined]

    def fatal(self: Any, *args: Any) -> Any:
        if self.trainer.logger.name == stage and self.global_step == step:
            raise Killed
        return original(self, *args)

    patch.setattr(training, "training_step", fatal)


def run_killed(
    monkeypatch: pytest.MonkeyPatch,
    run: Callable[..., None],
    kills: Sequence[tuple[type, str, int]],
    table: Path,
) -> None:
    """Run, killed in steps of stages and resumed each time; the table comes in the end.

    Args:
        monkeypatch: Kills for a while.
        run: Called with ``--resume`` from the second time on.
        kills: Trainings, the names of their stages, and the steps.
        table: What the run writes last.
    """
    resume: tuple[str, ...] = ()
    for training, stage, step in kills:
        with monkeypatch.context() as patch, pytest.raises(Killed):
            kill_in(patch, training, stage, step)
            run(*resume)
        assert not table.exists()
        resume = ("--resume",)
    run(*resume)


def error_line(capsys: pytest.CaptureFixture[str], run: Callable[[], None]) -> str:
    """Run, expect exit code 2 and one line of error, and give it."""
    with pytest.raises(SystemExit) as exit_info:
        run()
    assert exit_info.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    return error


def assert_help_shows(
    capsys: pytest.CaptureFixture[str],
    main: Callable[[Sequence[str]], None],
    description: str,
    defaults: Mapping[str, object],
) -> None:
    """The help of every dataset shows the dataset's default of an option."""
    assert len(set(defaults.values())) > 1
    for dataset, default in defaults.items():
        with pytest.raises(SystemExit) as exit_info:
            main(["--dataset", dataset, "--help"])
        assert exit_info.value.code == 0
        text = " ".join(capsys.readouterr().out.replace("│", " ").split())
        assert f"{description} (default: {default})" in text


def read_csv(path: Path) -> list[dict[str, str]]:
    """Give the rows of a table, digit by digit."""
    with path.open() as file:
        return list(csv.DictReader(file))


def read_curves(repetition: Path) -> dict[str, list[str]]:
    """Give the losses of every stage of a repetition, digit by digit."""
    curves: dict[str, list[str]] = {}
    for row in read_csv(repetition / "curves.csv"):
        if row["metric"] == "loss":
            curves.setdefault(row["stage"], []).append(row["value"])
    return curves


def as_on_a_gpu(patch: pytest.MonkeyPatch) -> None:
    """Nobody looks at a value, as it would take a wait for the GPU, and sums are split."""
    patch.setattr(host, "is_at_hand", lambda tensor: False)
    patch.setattr(subset_sums, "_copies", lambda subset, num_subsets: 3)


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums of several threads may differ in the last digit, and the networks are tiny."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
