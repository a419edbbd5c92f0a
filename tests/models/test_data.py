# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pooch
import pytest
import torch
from sklearn.datasets import load_digits

from models.data.idx import read_idx
from models.data.images import _SOURCES, DatasetName, load_images
from tests.models.image_files import idx_bytes

TRAIN_IMAGES = "train-images-idx3-ubyte.gz"
TRAIN_LABELS = "train-labels-idx1-ubyte.gz"
TEST_IMAGES = "t10k-images-idx3-ubyte.gz"
TEST_LABELS = "t10k-labels-idx1-ubyte.gz"


def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        TRAIN_IMAGES: rng.integers(0, 256, (7, 4, 5)),
        TRAIN_LABELS: rng.integers(0, 10, 7),
        TEST_IMAGES: rng.integers(0, 256, (3, 4, 5)),
        TEST_LABELS: rng.integers(0, 10, 3),
    }


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for file, array in arrays().items():
        (tmp_path / file).write_bytes(gzip.compress(idx_bytes(array)))
    return tmp_path


def test_digits_are_split_once_and_for_all() -> None:
    data = load_images("digits")
    assert data.train_images.shape == (1257, 1, 8, 8)
    assert data.test_images.shape == (540, 1, 8, 8)
    assert data.train_images.dtype == data.test_images.dtype == torch.float32
    assert data.train_labels.dtype == data.test_labels.dtype == torch.int64
    assert data.train_images.min() == 0
    assert data.train_images.max() == 1
    assert torch.equal(data.train_images, load_images("digits").train_images)
    shares = [labels.bincount() / len(labels) for labels in (data.train_labels, data.test_labels)]
    assert (shares[0] - shares[1]).abs().max() < 0.002


def test_digits_keep_every_image_with_its_label() -> None:
    data = load_images("digits")
    images = torch.cat([data.train_images, data.test_images]).flatten(1) * 16
    labels = torch.cat([data.train_labels, data.test_labels])
    found = torch.cat([images, labels.unsqueeze(1)], dim=1).numpy()
    pixels, targets = load_digits(return_X_y=True)
    expected = np.column_stack([pixels, targets])
    assert np.array_equal(found[np.lexsort(found.T)], expected[np.lexsort(expected.T)])


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("nested", [True, False])
def test_idx_files_are_read(
    name: DatasetName, compressed: bool, nested: bool, tmp_path: Path
) -> None:
    directory = tmp_path / name if nested else tmp_path
    directory.mkdir(exist_ok=True)
    for file, array in arrays().items():
        content = idx_bytes(array)
        if compressed:
            (directory / file).write_bytes(gzip.compress(content))
        else:
            (directory / file.removesuffix(".gz")).write_bytes(content)
    data = load_images(name, tmp_path)
    expected = arrays()
    assert data.name == name
    for images, file in ((data.train_images, TRAIN_IMAGES), (data.test_images, TEST_IMAGES)):
        assert images.dtype == torch.float32
        np.testing.assert_allclose(images.squeeze(1), expected[file] / 255, rtol=1e-7)
    for labels, file in ((data.train_labels, TRAIN_LABELS), (data.test_labels, TEST_LABELS)):
        assert labels.dtype == torch.int64
        np.testing.assert_array_equal(labels, expected[file])


def flip_a_byte(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]


FAULTS: dict[str, tuple[str, Callable[[bytes], bytes], str]] = {
    "truncated gzip": (TRAIN_IMAGES, lambda c: gzip.compress(c)[:-20], "is truncated or corrupt"),
    "corrupt gzip": (TRAIN_LABELS, lambda c: flip_a_byte(gzip.compress(c)), "truncated or corrupt"),
    "not gzip": (
        TEST_IMAGES,
        lambda _: b"<html>",
        r"3 dimension\(s\): it must start with the bytes 00 00 08 03, but starts with 3c 68 74 6d",
    ),
    "empty": (TEST_LABELS, lambda _: b"", "starts with nothing"),
    "labels for images": (
        TRAIN_IMAGES,
        lambda _: idx_bytes(np.arange(7)),
        "00 00 08 03, but starts with 00 00 08 01",
    ),
    "floats": (TRAIN_IMAGES, lambda c: c[:2] + b"\x0d" + c[3:], "but starts with 00 00 0d 03"),
    "truncated header": (TEST_IMAGES, lambda c: c[:10], "ends within its header of 16 bytes"),
    "truncated": (
        TRAIN_IMAGES,
        lambda c: c[:-1],
        r"must hold 140 bytes after its header, .* shape \(7, 4, 5\), but holds 139",
    ),
    "too long": (TEST_LABELS, lambda c: c + b"\x00", "must hold 3 bytes .* but holds 4"),
    "too few labels": (
        TRAIN_LABELS,
        lambda _: idx_bytes(np.arange(6)),
        f"a label for each of the 7 images in .*{TRAIN_IMAGES}, but holds 6",
    ),
    "no images": (
        TEST_IMAGES,
        lambda _: idx_bytes(np.zeros((0, 4, 5))),
        r"must hold images, but its shape is \(0, 4, 5\)",
    ),
}


@pytest.mark.parametrize(("file", "damage", "message"), FAULTS.values(), ids=FAULTS)
def test_faulty_file_gives_one_clear_line(
    file: str, damage: Callable[[bytes], bytes], message: str, directory: Path
) -> None:
    (directory / file).write_bytes(damage(idx_bytes(arrays()[file])))
    with pytest.raises(ValueError, match=f"{file}.* {message}") as caught:
        load_images("mnist", directory)
    assert "\n" not in str(caught.value)


def test_training_and_test_images_must_agree_in_shape(directory: Path) -> None:
    (directory / TEST_IMAGES).write_bytes(idx_bytes(np.zeros((3, 8, 8))))
    with pytest.raises(ValueError, match=r"same shape, but have \(1, 4, 5\) and \(1, 8, 8\)"):
        load_images("mnist", directory)


@pytest.mark.parametrize("file", arrays())
def test_missing_file_is_named(file: str, directory: Path) -> None:
    (directory / file).unlink()
    with pytest.raises(ValueError, match=rf"{file} \(or {file[:-3]}\) is missing: mnist needs it"):
        load_images("mnist", directory)


def test_training_images_alone_suffice_to_evaluate_on_them(directory: Path) -> None:
    for path in directory.glob("t10k-*"):
        path.unlink()
    data = load_images("mnist", directory, "train")
    assert torch.equal(data.test_images, data.train_images)
    assert torch.equal(data.test_labels, data.train_labels)


def test_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="data directory .*nowhere does not exist"):
        load_images("mnist", tmp_path / "nowhere")


def test_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read: Is a directory"):
        read_idx(tmp_path, ndim=1)


def test_unknown_dataset_is_quoted() -> None:
    with pytest.raises(ValueError, match=r"one of \('digits', .*\), but is 'cifar'"):
        load_images("cifar")  # type: ignore[arg-type]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, filled by small files of the right layout instead of the network."""

    def download(url: str, output_file: str, _: pooch.Pooch) -> None:
        Path(output_file).write_bytes(idx_bytes(arrays()[Path(url).name]))

    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / project)
    monkeypatch.setattr(pooch.core, "choose_downloader", lambda *_, **__: download)
    return tmp_path / "pyro-drpm"


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_download_with_a_wrong_checksum_is_refused(name: DatasetName, cache: Path) -> None:
    with pytest.raises(ValueError, match=rf"cannot download http.*{TRAIN_IMAGES} \(MD5 hash"):
        load_images(name)
    assert not [path for path in cache.rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_download_is_cached(
    name: DatasetName, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file, array in arrays().items():
        monkeypatch.setitem(_SOURCES[name].md5, file, hashlib.md5(idx_bytes(array)).hexdigest())
    first = load_images(name)
    assert {path.name for path in (cache / name).iterdir()} == set(arrays())
    np.testing.assert_array_equal(first.test_labels, arrays()[TEST_LABELS])
    monkeypatch.delattr(pooch.core, "choose_downloader")
    assert torch.equal(load_images(name).train_images, first.train_images)


def test_failed_download_says_what_to_do(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("network is unreachable")

    monkeypatch.setattr(pooch.core, "choose_downloader", lambda *_, **__: fail)
    with pytest.raises(ValueError, match=r"\(network is unreachable\): .* directory as data_dir"):
        load_images("mnist")
    assert not list(cache.rglob("*.gz"))
