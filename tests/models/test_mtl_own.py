# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""``python -m models.mtl --data``: images and tables of one's own, and what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits

from models.data import load_own_tasks
from models.mtl import cli
from models.mtl.config import own_preset
from tests.models.own_files import digit_folder, save_table, scene_images
from tests.models.training_checks import error_line

TINY = ("--epochs", "2", "--num-features", "8", "--device", "cpu", "--no-progress")
pytestmark = pytest.mark.usefixtures("one_thread")


def digit_labels(number: int = 60) -> pd.DataFrame:
    """Names of the files of :func:`digit_folder`, and three tasks of 10, 2 and 3 classes."""
    digits = load_digits().target[:number]
    return pd.DataFrame(
        {
            "file": [f"{digit}/{i:03d}.png" for i, digit in enumerate(digits)],
            "digit": digits,
            "parity": np.where(digits % 2, "odd", "even"),
            "third": digits % 3,
        }
    )


def run(*args: object) -> None:
    cli.main([*TINY, *map(str, args)])


def test_a_folder_and_a_table_in_another_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = digit_folder(tmp_path / "digits"), tmp_path / "out"
    table = save_table(digit_labels().sample(frac=1, random_state=0), tmp_path / "labels.csv")
    run("--data", folder, "--labels", table, "--ids", "file", "--out", out)
    said = capsys.readouterr().out
    assert all(task in said for task in ("digit", "parity", "third", "mean"))
    scores = pd.read_csv(out / "tasks.csv")
    assert scores.task.tolist() == ["digit", "parity", "third"] * 2
    sizes = scores[scores.method == "drpm"]["size"]
    assert sizes.sum() == pytest.approx(8)
    for name in ("tasks.csv", "tasks.png"):
        assert str(out / name) in said and (out / name).stat().st_size > 100


def test_labels_are_those_of_the_images(tmp_path: Path) -> None:
    folder = digit_folder(tmp_path / "digits")
    shuffled = digit_labels().sample(frac=1, random_state=0)
    data = load_own_tasks(folder, save_table(shuffled, tmp_path / "labels.parquet"), ids="file")
    assert data.task_names == ("digit", "parity", "third") and data.num_classes == (10, 2, 3)
    assert data.train_images.shape == (48, 1, 8, 8) and data.test_images.shape == (12, 1, 8, 8)
    for images, labels in (
        (data.train_images, data.train_labels),
        (data.test_images, data.test_labels),
    ):
        for image, (digit, parity, third) in zip(images, labels.tolist(), strict=True):
            pixels = (load_digits().images[:60] * 255 / 16).astype(np.uint8)
            (row,) = np.flatnonzero((pixels == image[0].numpy()).all((1, 2)))
            assert load_digits().target[row] == digit
            assert parity == digit % 2 and third == digit % 3
    inputs = data.normalize(data.train_images)
    assert inputs.mean().abs() < 1e-4 and inputs.std().item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("size", [8, 32, 36])
def test_coloured_images_of_any_size_in_their_order(tmp_path: Path, size: int) -> None:
    images = scene_images(number=20, size=size)
    np.save(tmp_path / "images.npy", images)
    brightness = images.mean((1, 2, 3))
    labels = pd.DataFrame({"bright": brightness > np.median(brightness), "row": np.arange(20) % 4})
    table, out = save_table(labels, tmp_path / "labels.csv"), tmp_path / "out"
    run("--data", tmp_path / "images.npy", "--labels", table, "--out", out)
    assert len(pd.read_csv(out / "tasks.csv")) == 4


def test_networks_follow_the_image() -> None:
    assert own_preset((1, 28, 28), 1000).network == "lenet"
    assert own_preset((3, 64, 48), 1000).network == "resnet"
    assert own_preset((1, 8, 8), 48).epochs == 3000 and own_preset((1, 8, 8), 64_000).epochs == 3


def bad(**changes: Any) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda table: table.assign(**changes)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (bad(), ("--ids", "name"), "has no column 'name', but file, digit, parity, third"),
        (bad(), (), "column 'file' .* has 60: leave it out, or name it with --ids"),
        (lambda t: t.drop(columns="file").head(50), (), "a row for each of the 60 images, .* 50"),
        (lambda t: t.head(50), ("--ids", "file"), "does not name the image"),
        (bad(file="0/000.png"), ("--ids", "file"), "names '0/000.png' twice"),
        (bad(third=1), ("--ids", "file"), "column 'third' .* but has 1"),
        (bad(third=[None] + [1] * 59), ("--ids", "file"), "have no value for item '0/000.png'"),
        (lambda t: t[["file"]], ("--ids", "file"), "must have a column for each task"),
        (bad(), ("--ids", "file", "--dataset", "celeba"), "belong together"),
    ],
)
def test_bad_tables_are_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[pd.DataFrame], pd.DataFrame],
    options: tuple[str, ...],
    message: str,
) -> None:
    folder, out = digit_folder(tmp_path / "digits"), tmp_path / "out"
    table = save_table(change(digit_labels()), tmp_path / "labels.csv")
    arguments = ("--data", folder, "--labels", table, "--out", out, *options)
    line = error_line(capsys, lambda: run(*arguments))
    assert re.search(message, line), line
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--data", "nowhere", "--labels", "none.csv"), "nowhere does not exist"),
        (("--data", "nowhere"), "give both"),
        (("--labels", "none.csv"), "give both"),
        (("--dataset", "own"), "belong together"),
        (("--data-dir", "nowhere"), "data_dir is for multi-mnist and celeba"),
    ],
)
def test_what_is_not_given_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], message: str
) -> None:
    line = error_line(capsys, lambda: run("--out", tmp_path / "out", *options))
    assert message in line


def test_features_are_no_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "features.npy", torch.rand(20, 5).numpy())
    table = save_table(digit_labels(20), tmp_path / "labels.csv")
    arguments = ("--data", tmp_path / "features.npy", "--labels", table, "--ids", "file")
    assert "must hold images, but holds 5 features" in error_line(capsys, lambda: run(*arguments))
