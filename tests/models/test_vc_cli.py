# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Errors and help of the command line of ``models.vc``."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from models.vc import cli
from models.vc.presets import PRESETS
from tests.models.training_checks import (
    assert_help_shows,
)
from tests.models.vc_runs import SEED, fail


def test_every_setting_is_an_option_of_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    options = re.findall(r"\s--(?:no-)?([a-z][a-z-]*)", capsys.readouterr().out)
    assert {*options} - {"help"} == {name.replace("_", "-") for name in PRESETS["digits"].flat()}


def test_the_preset_of_the_paper(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--dataset", "mnist", "--preset", "paper", "--help"])
    words = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for default in ("sampled", "relaxed", "1024.0"):
        assert f"(default: {default})" in words


def test_a_damaged_checkpoint_is_one_line(
    finished_vc_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "damaged"
    shutil.copytree(finished_vc_run, out)
    path = out / SEED / "vade.ckpt"
    path.write_bytes(path.read_bytes()[:1000])
    assert str(path) in fail(capsys, out, "--resume")


def test_a_checkpoint_of_other_networks_is_one_line(
    finished_vc_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "swapped"
    shutil.copytree(finished_vc_run, out)
    shutil.copy(out / SEED / "pretrain.ckpt", out / SEED / "vade.ckpt")
    assert "vade.ckpt" in fail(capsys, out, "--resume")


def test_what_cannot_be_resumed_is_one_line(
    finished_vc_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "there is no run in" in fail(capsys, tmp_path / "none", "--resume")
    assert "beta = 1.0, not 0.5" in fail(capsys, finished_vc_run, "--resume", "--beta", "0.5")
    out = tmp_path / "gap"
    shutil.copytree(finished_vc_run, out)
    (out / SEED / "pretrain.ckpt").unlink()
    assert "pretrain.ckpt is missing" in fail(capsys, out, "--resume")
    (out / "config.json").write_text("{")
    assert "config.json cannot be read" in fail(capsys, out, "--resume")


def test_bad_arguments_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("precious")
    assert "other files than a run" in fail(capsys, tmp_path)
    assert "must be a directory" in fail(capsys, tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "precious"
    out = tmp_path / "out"
    assert "epochs must be positive, but is 0" in fail(capsys, out, "--epochs", "0")
    assert "gamma must not be negative, but is -1.0" in fail(capsys, out, "--gamma", "-1")
    missing = ("--dataset", "mnist", "--data-dir", str(tmp_path / "nowhere"))
    assert "nowhere" in fail(capsys, out, *missing)
    assert not out.exists()


def test_the_help_shows_the_defaults_of_the_dataset(capsys: pytest.CaptureFixture[str]) -> None:
    defaults: dict[str, object] = {
        p.dataset: p.training.epochs for p in PRESETS.values() if p.preset == "default"
    }
    assert_help_shows(capsys, cli.main, "Epochs of DRPM-VC and of all VaDEs.", defaults)
