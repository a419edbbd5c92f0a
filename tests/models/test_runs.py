# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The directory of a run: what a new run removes and keeps, what a resumed one checks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from models.runs.directory import prepare_run

SETTINGS = '{"beta": 1.0, "hidden": [3, 2]}'


def prepare(out: Path, *repetitions: str, settings: str = SETTINGS, resume: bool = False) -> None:
    prepare_run(
        out,
        settings,
        resume,
        repetitions=repetitions,
        stages=("label", "drpm"),
        results=("table2.csv", "figure3.png"),
    )


def save_checkpoint(path: Path, stage: str) -> None:
    torch.save({"stage": stage}, path)


def files(out: Path) -> set[str]:
    return {path.relative_to(out).as_posix() for path in out.rglob("*")}


@pytest.mark.parametrize(
    "names", [("seed-3", "seed-4"), ("n_shared-0/seed-0", "n_shared-1/seed-0")]
)
def test_a_new_run_has_its_settings_and_directories(tmp_path: Path, names: tuple[str, ...]) -> None:
    out = tmp_path / "runs" / "new"
    prepare(out, *names)
    assert json.loads((out / "config.json").read_text()) == json.loads(SETTINGS)
    assert all((out / name).is_dir() for name in names)


def test_a_new_run_removes_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    prepare(tmp_path, "n_shared-0/seed-0", "n_shared-3/seed-0", "n_shared-3/seed-10")
    (tmp_path / "n_shared-3" / "seed-10" / "figures").mkdir()
    (tmp_path / "n_shared-3" / "seed-10" / "figures" / "swaps.png").touch()
    (tmp_path / "table2.csv").touch()
    kept = {"notes", "seed-0", "n_shared-0/notes", "n_shared-0/seed-0-old", "n_shared-best/seed-0"}
    for name in kept:
        (tmp_path / name).mkdir(parents=True)
    prepare(tmp_path, "n_shared-1/seed-2", settings="{}")
    assert (tmp_path / "config.json").read_text() == "{}"
    parents = {"n_shared-0", "n_shared-1", "n_shared-best"}
    assert files(tmp_path) == kept | parents | {"n_shared-1/seed-2", "config.json"}


def test_a_directory_of_something_else_is_left_alone(tmp_path: Path) -> None:
    foreign = {"figure3.png", "config.json", "seed-notes"}
    for name in sorted(foreign):
        (tmp_path / name).touch()
        with pytest.raises(ValueError, match="other files than a run: give another directory"):
            prepare(tmp_path, "seed-0")
    assert files(tmp_path) == foreign


def test_a_run_of_other_repetitions_is_left_alone(tmp_path: Path) -> None:
    prepare(tmp_path, "n_shared-0/seed-0")
    before = files(tmp_path)
    with pytest.raises(ValueError, match="other files than a run"):
        prepare(tmp_path, "seed-0")
    assert files(tmp_path) == before


def test_resuming_changes_nothing(tmp_path: Path) -> None:
    prepare(tmp_path, "seed-0", "seed-1")
    save_checkpoint(tmp_path / "seed-1" / "drpm.ckpt", "drpm")  # label.ckpt may be missing
    (tmp_path / "table2.csv").touch()
    before = files(tmp_path)
    prepare(tmp_path, "seed-0", "seed-1", resume=True)
    assert files(tmp_path) == before


def test_every_checkpoint_is_checked_before_resuming(tmp_path: Path) -> None:
    prepare(tmp_path, "seed-0", "seed-1")
    save_checkpoint(tmp_path / "seed-0" / "label.ckpt", "label")
    save_checkpoint(tmp_path / "seed-1" / "drpm.ckpt", "label")
    with pytest.raises(ValueError, match=r"seed-1.drpm\.ckpt is no checkpoint of the stage drpm"):
        prepare(tmp_path, "seed-0", "seed-1", resume=True)


def test_what_cannot_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no run in .*: .*config\.json is missing"):
        prepare(tmp_path, "seed-0", resume=True)
    prepare(tmp_path, "seed-0")
    with pytest.raises(ValueError, match=r"has hidden = \[3, 2\], not \[3\]: give the same"):
        prepare(tmp_path, "seed-0", settings='{"beta": 1.0, "hidden": [3]}', resume=True)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json cannot be read"):
        prepare(tmp_path, "seed-0", resume=True)
