# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Files of one's own are read as they are, or a line says what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits, load_iris

from models.data import fit_scaler, load_items
from models.data.items import as_items
from tests.models.own_files import digit_folder, iris_table, save_table, scene_images, wine_table


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_has_a_feature_for_each_column(tmp_path: Path, suffix: str) -> None:
    path = save_table(iris_table(), tmp_path / f"iris{suffix}")
    items = load_items(path, labels="species")
    features, species = load_iris(return_X_y=True)
    np.testing.assert_allclose(items.values, features)
    assert items.columns == tuple(load_iris().feature_names)
    assert items.classes == ("setosa", "versicolor", "virginica")
    assert items.labels is not None and items.labels.tolist() == species.tolist()
    assert items.ids[:2] == ("0", "1") and not items.are_images


def test_ids_and_numeric_labels_are_no_features(tmp_path: Path) -> None:
    path = save_table(wine_table(), tmp_path / "wine.parquet")
    items = load_items(path, labels="cultivar", ids="name")
    assert items.values.shape == (178, 13)
    assert items.classes == ("0", "1", "2") and items.ids[177] == "wine 177"


def test_a_folder_has_the_classes_of_its_subfolders(tmp_path: Path) -> None:
    items = load_items(digit_folder(tmp_path / "digits"), labels="folder")
    digits = load_digits()
    assert items.values.shape == (60, 1, 8, 8) and items.are_images
    order = [int(name.split("/")[1].removesuffix(".png")) for name in items.ids]
    np.testing.assert_array_equal(
        items.values[:, 0], (digits.images[order] * 255 / 16).astype(np.uint8)
    )
    assert items.labels is not None and items.labels.tolist() == digits.target[order].tolist()


def test_one_coloured_image_makes_all_coloured(tmp_path: Path) -> None:
    Image.new("L", (4, 3), 100).save(tmp_path / "a.png")
    Image.new("RGB", (4, 3), (10, 20, 30)).save(tmp_path / "b.png")
    (tmp_path / "notes.txt").write_text("left aside")
    values = load_items(tmp_path).values
    assert values.shape == (2, 3, 3, 4)
    assert values[:, :, 0, 0].tolist() == [[100, 100, 100], [10, 20, 30]]


def test_arrays_are_images_or_features(tmp_path: Path) -> None:
    images, labels = scene_images(), np.arange(40) % 3
    np.savez(tmp_path / "scene.npz", pictures=images, kind=labels)
    items = load_items(tmp_path / "scene.npz", labels="kind")
    np.testing.assert_array_equal(items.values, np.moveaxis(images, -1, 1))
    np.save(tmp_path / "grey.npy", images[..., 0])
    assert load_items(tmp_path / "grey.npy").values.shape == (40, 1, 16, 16)
    np.save(tmp_path / "flat.npy", images.reshape(40, -1))
    flat = load_items(tmp_path / "flat.npy")
    assert flat.values.shape == (40, 768) and flat.columns == ()


def test_scales() -> None:
    features = np.array([[1e9, 2.0, 7.0], [1e9 + 2, 4.0, 7.0]])
    torch.testing.assert_close(
        fit_scaler(features)(features), torch.tensor([[-1.0, -1, 0], [1.0, 1, 0]])
    )
    common = fit_scaler(np.array([[0.0, 0.0], [2.0, 4.0]]), "common")
    assert common.scale.tolist() == pytest.approx([2.5**0.5] * 2)
    cases = [
        (np.full((2, 1, 2, 2), 51, np.uint8), True, 0.2),
        (np.full((2, 1, 2, 2), 0.5), True, 0.5),
        (np.full((2, 1, 2, 2), 16.0), True, 1.0),
    ]
    for images, is_pixels, value in cases:
        scaler = fit_scaler(images)
        assert scaler.is_pixels == is_pixels
        assert scaler(images).unique().item() == pytest.approx(value)
    signed = np.random.default_rng(0).normal(5, 3, (50, 3, 2, 2))
    scaler = fit_scaler(signed - 9)
    assert not scaler.is_pixels
    scaled = scaler(signed - 9)
    torch.testing.assert_close(scaled.mean((0, 2, 3)), torch.zeros(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(scaled.var((0, 2, 3), correction=0), torch.ones(3))


def table(**columns: Any) -> Callable[[Path], Path]:
    return lambda folder: save_table(pd.DataFrame(columns), folder / "bad.csv")


def arrays(**values: Any) -> Callable[[Path], Path]:
    def save(folder: Path) -> Path:
        np.savez(folder / "bad.npz", **values)
        return folder / "bad.npz"

    return save


def file(name: str, content: bytes) -> Callable[[Path], Path]:
    def save(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return save


def two_sizes(folder: Path) -> Path:
    Image.new("L", (4, 4)).save(folder / "a.png")
    Image.new("L", (5, 4)).save(folder / "b.png")
    return folder


def many_bits(folder: Path) -> Path:
    Image.fromarray(np.full((4, 4), 1000, np.uint16)).save(folder / "a.png")
    return folder


def damaged_image(folder: Path) -> Path:
    Image.new("L", (4, 4)).save(folder / "a.png")
    (folder / "b.png").write_bytes((folder / "a.png").read_bytes()[:40])
    return folder


GOOD = {"values": np.ones((5, 3)), "k": np.arange(5)}
BAD: list[tuple[Callable[[Path], Path], dict[str, str], str]] = [
    (lambda folder: folder / "none.csv", {}, "none.csv does not exist"),
    (file("data.txt", b"1"), {}, "a file .npy, .npz, .csv, .parquet, but ends with '.txt'"),
    (file("bad.csv", b""), {}, "bad.csv cannot be read as a table: No columns to parse"),
    (file("bad.parquet", b"no"), {}, "bad.parquet cannot be read as a table"),
    (file("bad.npz", b"no"), {}, "bad.npz is corrupt or holds more than plain arrays"),
    (table(a=[1.0, 2], b=[1.0, 2]), {"labels": "c"}, "has no column 'c', but a, b"),
    (table(a=[1.0, 2], b=[1.0, 2]), {"ids": "c"}, "has no column 'c', but a, b"),
    (table(a=[1.0, 2], b=["1", "x"]), {}, "column 'b' .* has 'x' in row 1: leave it out"),
    (table(a=[1.0, 2], b=[1.0, None]), {}, "column 'b' .* has no value in row 1"),
    (table(a=[1.0, np.inf], b=[1.0, 2]), {}, "column 'a' .* has inf in row 1"),
    (table(a=[1.0, 2], b=["x", None]), {"labels": "b"}, "labels 'b' .* have no value for item '1'"),
    (table(a=[1.0]), {}, "must hold at least two items, but holds 1"),
    (table(a=["x", "y"]), {"labels": "a"}, "must hold rows and columns of numbers, but has none"),
    (table(a=[1.0, 2]), {"array": "a"}, "array is for .npz files"),
    (arrays(**GOOD), {}, "must hold one array of items, but holds values, k"),
    (arrays(**GOOD), {"labels": "l"}, "has no array 'l', but values, k"),
    (arrays(values=np.ones((5, 3)), k=np.arange(4)), {"labels": "k"}, "each of the 5 items"),
    (arrays(values=np.ones((5, 3)), k=np.arange(4)), {"ids": "k"}, "each of the 5 items"),
    (arrays(values=np.array(["a", "b"])), {}, "must hold numbers, but has the type <U1"),
    (arrays(values=np.ones((5, 3, 3, 2))), {}, r"1, 3 or 4 channels.*has \(5, 3, 3, 2\)"),
    (arrays(values=np.ones(5)), {}, r"or \(N, D\) of features, but has \(5,\)"),
    (arrays(values=np.ones((5, 0))), {}, r"but has \(5, 0\)"),
    (arrays(values=np.array([[1.0], [np.nan]])), {}, r"finite numbers, but has nan at \[1, 0\]"),
    (arrays(values=np.array([[1], [None]])), {}, "corrupt or holds more than plain arrays"),
    (lambda folder: folder, {}, "must hold images .*, but holds none"),
    (two_sizes, {}, "a.png has 4 x 4 pixels and .*b.png has 5 x 4"),
    (two_sizes, {"labels": "kind"}, "one size"),
    (many_bits, {}, "at most eight bits a colour, but has the mode I"),
    (damaged_image, {}, "b.png is no image or damaged"),
]


@pytest.mark.parametrize(("make", "names", "message"), BAD)
def test_bad_files(
    tmp_path: Path, make: Callable[[Path], Path], names: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        load_items(make(tmp_path), **names)
    assert "\n" not in str(raised.value)


def test_labels_of_a_folder_need_subfolders(tmp_path: Path) -> None:
    for name in "ab":
        Image.new("L", (4, 4)).save(tmp_path / f"{name}.png")
    with pytest.raises(ValueError, match="give 'folder', not 'kind'"):
        load_items(tmp_path, labels="kind")
    with pytest.raises(ValueError, match="put every image of .* into one"):
        load_items(tmp_path, labels="folder")


def test_channels_come_first() -> None:
    images = np.arange(2 * 4 * 5 * 3).reshape(2, 4, 5, 3)
    assert as_items(images)[1, 2, 3, 4] == images[1, 3, 4, 2]
