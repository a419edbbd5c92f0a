# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""What the command lines share: settings, presets, errors of one line."""

from __future__ import annotations

import json
import logging
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pyro
import pytest
import torch

from models.runs.cli import one_line_errors, parse_settings
from models.runs.settings import RunSettings, SettingsGroup
from models.training.hardware import Hardware
from models.training.session import training_session


@dataclass(frozen=True)
class Schedule(SettingsGroup):
    """How the training goes on."""

    rates: tuple[float, ...] = (0.1, 0.01)
    """Learning rates."""
    decay: float = 0.5
    """Weight decay."""

    def validate(self) -> None:
        super().validate()
        self.require_positive("decay")


@dataclass(frozen=True)
class Settings(RunSettings):
    """Train a toy."""

    dataset: Literal["small", "large"] = "small"
    """What to train on."""
    data_dir: Path | None = None
    """Where it is."""
    epochs: int = 3
    """Epochs of the training."""
    schedule: Schedule = Schedule()

    def validate(self) -> None:
        super().validate()
        self.require_positive("epochs")


PRESETS = {
    "small": Settings(out=Path("runs/small")),
    "large": Settings(out=Path("runs/large"), dataset="large", epochs=1000),
}


def parse(*args: str) -> Settings:
    return parse_settings("python -m toy", PRESETS, args)


def test_the_dataset_chooses_the_defaults() -> None:
    assert parse() == PRESETS["small"]
    assert parse("--dataset", "large", "--seeds", "2") == Settings(
        out=Path("runs/large"), dataset="large", epochs=1000, seeds=2
    )


def test_options_have_the_names_of_settings_in_groups() -> None:
    expected = replace(PRESETS["small"], schedule=Schedule((1.0,), decay=0.25))
    assert parse("--rates", "1", "--decay", "0.25") == expected


def test_the_help_describes_own_and_common_settings(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        parse("--dataset", "large", "--help")
    assert exit_info.value.code == 0
    words = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "usage: python -m toy" in words and "Train a toy." in words
    assert "Seed of all random numbers, or that of the first repetition. (default: 0)" in words
    assert "Epochs of the training. (default: 1000)" in words


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--seed", "-1"), "seed must not be negative, but is -1"),
        (("--seeds", "0"), "seeds must be positive, but is 0"),
        (("--checkpoint-every", "0"), "checkpoint_every must be positive, but is 0"),
        (("--epochs", "-2"), "epochs must be positive, but is -2"),
        (("--decay", "0"), "decay must be positive, but is 0.0"),
        (("--decay", "nan"), "decay must be a finite number, but is nan"),
        (("--out", __file__), "test_cli.py must be a directory, but is a file"),
        (("--device", "cuda"), "torch finds no GPU: use --device cpu"),
    ],
)
def test_a_bad_setting_is_one_line(
    args: tuple[str, ...],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as exit_info, one_line_errors():
        parse(*args)
    assert exit_info.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert message in error


def test_only_what_the_results_depend_on_is_stored() -> None:
    settings = parse("--out", "here", "--data-dir", "there", "--device", "cpu", "--resume")
    assert json.loads(settings.to_json()) == {
        "seed": 0,
        "seeds": 1,
        "checkpoint_every": 1,
        "devices": 1,
        "num_nodes": 1,
        "dataset": "small",
        "epochs": 3,
        "rates": [0.1, 0.01],
        "decay": 0.5,
    }


def test_repetitions_have_consecutive_seeds() -> None:
    assert list(parse("--seed", "3", "--seeds", "2").all_seeds) == [3, 4]


def test_a_training_session_ends_as_it_began() -> None:
    logger = logging.getLogger("lightning.pytorch")
    before = logger.level, list(warnings.filters), pyro.settings.get("module_local_params")
    with training_session(Hardware()):
        assert not logger.isEnabledFor(logging.INFO)
        assert pyro.settings.get("module_local_params")
    after = logger.level, list(warnings.filters), pyro.settings.get("module_local_params")
    assert after == before
