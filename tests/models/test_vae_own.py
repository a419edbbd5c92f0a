# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""``python -m models.vae --data``: pairs of one's own, and what is wrong with them in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from models.data import load_factor_images, load_pairs
from models.vae import cli
from tests.models.training_checks import error_line

TINY = (
    *("--epochs", "2", "--width", "4", "--num-features", "8", "--latent-dim", "4"),
    *("--device", "cpu", "--no-progress"),
)
pytestmark = pytest.mark.usefixtures("one_thread")


def scene_pairs(number: int = 30, size: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of the renderer that share three factors, bytes, and their factors."""
    torch.manual_seed(0)
    pair = load_factor_images("scene", size=size).sample_pair(3, number)
    return (pair.images * 255).round().byte().numpy(), pair.factors.numpy()


def save_npz(folder: Path, **arrays: Any) -> Path:
    np.savez(folder / "pairs.npz", **arrays)
    return folder / "pairs.npz"


def save_folders(folder: Path, images: np.ndarray) -> tuple[Path, Path]:
    for v, i in np.ndindex(2, len(images)):
        path = folder / f"view-{v}" / f"{i:03d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.moveaxis(images[i, v], 0, -1)).save(path)
    return folder / "view-0", folder / "view-1"


def run(*args: object) -> None:
    cli.main([*TINY, *map(str, args)])


def test_pairs_with_factors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, factors = scene_pairs()
    path, out = save_npz(tmp_path, pairs=images, values=factors), tmp_path / "out"
    run("--data", path, "--factors", "values", "--out", out, "--methods", "drpm", "ada")
    said = capsys.readouterr().out
    assert "every fifth pair" in said and "shared (S) and independent (I)" in said
    scores = pd.read_csv(out / "table2.csv")
    assert scores.method.tolist() == ["drpm", "ada"] and scores.n_shared.isna().all()
    expected = (scores.estimated_shared - 3) ** 2
    np.testing.assert_allclose(scores.squared_error, expected)
    directory = out / "pairs/seed-0"
    shared = [pd.read_csv(directory / f"drpm-shared-{part}.csv") for part in ("train", "test")]
    assert [len(table) for table in shared] == [24, 6]
    assert shared[1].id.tolist() == [4, 9, 14, 19, 24, 29]
    for table in shared:
        assert (table.filter(like="dim_").sum(axis=1) == table.shared).all()
    assert shared[1].shared.mean() == pytest.approx(scores.estimated_shared[0])
    for name in ("drpm-swaps.png", "curves.png", "drpm-shared-test.csv"):
        assert str(directory / name) in said


def test_folders_without_factors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = save_folders(tmp_path, scene_pairs(12, size=16)[0])
    out = tmp_path / "out"
    run("--data", *folders, "--out", out)
    said = capsys.readouterr().out
    assert "Number of shared dims of 4" in said and "accuracy" not in said
    scores = pd.read_csv(out / "table2.csv")
    assert scores.squared_error.isna().all() and scores.shared_accuracy.isna().all()
    assert pd.read_csv(out / "pairs/seed-0/drpm-shared-test.csv").id.tolist() == [
        "004.png",
        "009.png",
    ]


def test_pairs_are_read_as_they_are(tmp_path: Path) -> None:
    images, factors = scene_pairs(10, size=6)
    for arrays in (images, np.moveaxis(images, 2, -1)):
        pairs = load_pairs((save_npz(tmp_path, pairs=arrays),))
        torch.testing.assert_close(pairs.images, torch.tensor(images / 255).float())
    grey = load_pairs((save_npz(tmp_path, pairs=images[:, :, 0]),))
    assert grey.image_shape == (1, 6, 6)
    folders = load_pairs(save_folders(tmp_path, images))
    torch.testing.assert_close(folders.images, pairs.images)
    known = load_pairs((save_npz(tmp_path, a=images, f=factors),), factors="f")
    drawn = known.sample(50)
    assert (drawn.shared.sum(-1) == 3).all()
    assert (drawn.shared == (drawn.factors[:, 0] == drawn.factors[:, 1])).all()
    train, test = known.split()
    assert (len(train), len(test)) == (8, 2) and test.ids == ("4", "9")


def other_names(folder: Path) -> tuple[Path, ...]:
    folders = save_folders(folder, scene_pairs(5, size=4)[0])
    (folders[1] / "003.png").rename(folders[1] / "other.png")
    return folders


def other_sizes(folder: Path) -> tuple[Path, ...]:
    folders = save_folders(folder, scene_pairs(5, size=4)[0])
    for path in folders[1].iterdir():
        Image.new("RGB", (5, 4)).save(path)
    return folders


GOOD = scene_pairs(6, size=4)[0]


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (lambda f: (f / "none.npz",), (), "none.npz does not exist"),
        (lambda f: (f / "pairs.csv",), (), "must be an .npy or .npz file or two folders"),
        (lambda f: (f, f / "none"), (), "none is none"),
        (lambda f: (f, f, f), (), "data must be a file or two folders, but are 3 paths"),
        (other_names, (), "no partner"),
        (other_sizes, (), "images of both folders must have one size"),
        (other_names, ("--factors", "f"), "factors are for an .npz file"),
        (lambda f: (save_npz(f, a=GOOD[:4]),), (), "at least 5 pairs, but are 4"),
        (lambda f: (save_npz(f, a=GOOD, b=GOOD),), (), "one array of items"),
        (lambda f: (save_npz(f, a=GOOD),), ("--factors", "f"), "has no array 'f', but a"),
        (lambda f: (save_npz(f, a=GOOD[:, 0]),), (), "must have the shape (N, 2, C, H, W)"),
        (lambda f: (save_npz(f, a=GOOD - 300.0),), (), "pixels must not be negative"),
        (lambda f: (save_npz(f, a=GOOD * np.nan),), (), "finite numbers, but has nan"),
        (
            lambda f: (save_npz(f, a=GOOD, f=np.zeros((5, 2, 3))),),
            ("--factors", "f"),
            "must have the shape (6, 2, F), but have (5, 2, 3)",
        ),
        (lambda f: (save_npz(f, a=GOOD),), ("--dataset", "scene"), "belong together"),
    ],
)
def test_bad_pairs_are_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    make: Callable[[Path], tuple[Path, ...]],
    options: tuple[str, ...],
    message: str,
) -> None:
    out = tmp_path / "out"
    paths = make(tmp_path)
    line = error_line(capsys, lambda: run("--data", *paths, "--out", out, *options))
    assert message in line
    assert not out.exists()
