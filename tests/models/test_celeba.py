# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from models.data import load_multi_task
from models.data.celeba import load_celeba
from tests.models.celeba_files import (
    ATTRIBUTES,
    IMAGES,
    NAMES,
    PARTITION,
    TEST,
    TRAIN,
    attributes,
    write_celeba,
)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("celeba")
    write_celeba(directory)
    return directory


@pytest.fixture
def directory(published: Path, tmp_path: Path) -> Path:
    return shutil.copytree(published, tmp_path / "data")


def resized(path: Path) -> Tensor:
    """By PyTorch's filter instead of Pillow's."""
    with Image.open(path) as image:
        pixels = torch.from_numpy(np.array(image)).movedim(-1, 0)[None]
    return interpolate(pixels.float(), (64, 64), mode="bilinear", antialias=True)[0]


@pytest.mark.parametrize("nested", [True, False])
def test_images_and_labels_of_both_splits_are_read(nested: bool, directory: Path) -> None:
    files = directory
    if nested:
        files = directory.rename(directory.with_name("celeba"))
    data = load_celeba(files.parent if nested else files, num_tasks=10)
    assert data.task_names == tuple(f"Attribute_{number}" for number in range(10))
    assert set(data.num_classes) == {2}
    for images, labels, rows in (
        (data.train_images, data.train_labels, TRAIN),
        (data.test_images, data.test_labels, TEST),
    ):
        assert labels.dtype == torch.int64
        np.testing.assert_array_equal(labels, attributes()[rows, :10] == 1)
        assert images.dtype == torch.uint8
        assert images.shape == (len(rows), 3, 64, 64)
        for image, row in zip(images, rows, strict=True):
            difference = (image.float() - resized(files / IMAGES / NAMES[row])).abs()
            assert difference.max() <= 1


def test_images_are_normalised_to_minus_one_and_one(directory: Path) -> None:
    data = load_celeba(directory)
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8)
    torch.testing.assert_close(data.normalize(pixels), torch.tensor([-1, -0.6, 1]))


@pytest.mark.parametrize("num_tasks", [1, 20, 40])
def test_number_of_tasks_is_that_asked_for(num_tasks: int, directory: Path) -> None:
    data = load_celeba(directory, num_tasks)
    assert len(data.task_names) == num_tasks
    np.testing.assert_array_equal(data.test_labels, attributes()[TEST, :num_tasks] == 1)


@pytest.mark.parametrize("elsewhere", [True, False])
def test_images_are_decoded_once(elsewhere: bool, directory: Path, tmp_path: Path) -> None:
    before = {path.name for path in directory.iterdir()}
    cache = tmp_path / "new" / "cache" if elsewhere else None
    first = load_celeba(directory, cache_dir=cache)
    written = {path.name for path in directory.iterdir()} - before
    if cache is not None:
        assert not written
        written = {path.name for path in cache.iterdir()}
    assert len(written) == 2
    shutil.rmtree(directory / IMAGES)
    second = load_celeba(directory, num_tasks=3, cache_dir=cache)
    assert torch.equal(first.train_images, second.train_images)
    assert torch.equal(first.test_images, second.test_images)


def test_decoded_images_are_not_changed_on_disk(directory: Path) -> None:
    just_decoded = load_celeba(directory)
    expected = just_decoded.test_images.clone()
    for data in (just_decoded, load_celeba(directory)):
        data.test_images.zero_()
        assert torch.equal(load_celeba(directory).test_images, expected)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "header alone": lambda content: content[:60],
    "truncated": lambda content: content[:-1],
    "other file": lambda content: b"<html>" + content,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_cache_is_replaced(damage: Callable[[bytes], bytes], directory: Path) -> None:
    expected = load_celeba(directory).train_images.clone()
    (cache,) = directory.glob("celeba-train-*.npy")
    intact = cache.read_bytes()
    cache.write_bytes(damage(intact))
    assert torch.equal(load_celeba(directory).train_images, expected)
    assert cache.read_bytes() == intact


def test_cache_of_another_shape_or_type_is_replaced(directory: Path) -> None:
    expected = load_celeba(directory).train_images.clone()
    (cache,) = directory.glob("celeba-train-*.npy")
    for array in (np.zeros((5, 3, 32, 32), np.uint8), np.zeros((5, 3, 64, 64), np.int8)):
        np.save(cache, array)
        assert torch.equal(load_celeba(directory).train_images, expected)


def test_another_list_of_images_is_decoded_anew(directory: Path) -> None:
    load_celeba(directory)
    moved = (directory / PARTITION).read_text().replace(f"{NAMES[0]} 0", f"{NAMES[0]} 2")
    moved = moved.replace(f"{NAMES[1]} 2", f"{NAMES[1]} 0")
    (directory / PARTITION).write_text(moved)
    images = load_celeba(directory).test_images
    assert (images[0].float() - resized(directory / IMAGES / NAMES[0])).abs().max() <= 1


def replace(old: str, new: str) -> Callable[[str], str]:
    return lambda text: text.replace(old, new, 1)


FAULTS: dict[str, tuple[str, Callable[[str], str], str]] = {
    "empty attributes": (ATTRIBUTES, lambda _: "", r"attr_celeba.txt must start with .* \[\]"),
    "no count": (
        ATTRIBUTES,
        replace("8\n", ""),
        r"attr_celeba.txt must start with a line of the number of images .* \['Attribute_0 ",
    ),
    "wrong count": (ATTRIBUTES, replace("8", "9"), "attr_celeba.txt announces 9 images, .* 8"),
    "truncated attributes": (
        ATTRIBUTES,
        lambda text: text[:-40],
        "line 10 of .*attr_celeba.txt must have 41 columns, but has",
    ),
    "missing name of an attribute": (
        ATTRIBUTES,
        replace("Attribute_7 ", ""),
        "line 3 of .*attr_celeba.txt must have 40 columns, but has 41",
    ),
    "blank line": (
        ATTRIBUTES,
        lambda text: text[: text.index(NAMES[7])] + "\n",
        "line 10 of .*attr_celeba.txt must have 41 columns, but has 0",
    ),
    "zero": (
        ATTRIBUTES,
        lambda text: re.sub(rf"({NAMES[2]} +)-?1", r"\g<1>0", text),
        "attributes must be 1 or -1, but are 0 in line 5 of .*attr_celeba.txt",
    ),
    "short partition": (
        PARTITION,
        lambda text: text[:-13],
        "eval_partition.txt must have a line for each of the 8 images in .*, but has 7",
    ),
    "columns of the partition": (
        PARTITION,
        replace(f"{NAMES[3]} 1", NAMES[3]),
        "line 4 of .*eval_partition.txt must have 2 columns, but has 1",
    ),
    "other names": (
        PARTITION,
        replace(NAMES[3], "9.jpg"),
        "line 4 of .*eval_partition.txt must name 000004.jpg, as .* does, but names 9.jpg",
    ),
    "other split": (
        PARTITION,
        replace(f"{NAMES[4]} 0", f"{NAMES[4]} 3"),
        "must be one of 0, 1, 2, but is 3 in line 5 of .*eval_partition.txt",
    ),
    "no test images": (
        PARTITION,
        lambda text: text.replace("jpg 2", "jpg 1"),
        "eval_partition.txt must assign images to test, but assigns none",
    ),
}


@pytest.mark.parametrize(("file", "damage", "message"), FAULTS.values(), ids=FAULTS)
def test_faulty_list_gives_one_clear_line(
    file: str, damage: Callable[[str], str], message: str, directory: Path
) -> None:
    path = directory / file
    path.write_text(damage(path.read_text()))
    with pytest.raises(ValueError, match=message) as caught:
        load_celeba(directory)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", [ATTRIBUTES, PARTITION])
def test_list_must_be_a_text_file(file: str, directory: Path) -> None:
    (directory / file).write_bytes(b"PK\xff\xff")
    with pytest.raises(ValueError, match=f"{file} is no text file"):
        load_celeba(directory)
    (directory / file).unlink()
    (directory / file).mkdir()
    with pytest.raises(ValueError, match=f"{file} cannot be read: Is a directory"):
        load_celeba(directory)


@pytest.mark.parametrize("file", [ATTRIBUTES, PARTITION])
def test_missing_list_is_named(file: str, directory: Path) -> None:
    (directory / file).unlink()
    with pytest.raises(ValueError, match=f"{file} is missing: celeba needs it"):
        load_celeba(directory)


def test_missing_directories_are_named(directory: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="data directory .*nowhere does not exist"):
        load_celeba(tmp_path / "nowhere")
    shutil.rmtree(directory / IMAGES)
    with pytest.raises(ValueError, match="img_align_celeba is missing: celeba needs its images"):
        load_celeba(directory)


@pytest.mark.parametrize("row", [TRAIN[2], TEST[-1]])
def test_faulty_image_is_named(row: int, directory: Path) -> None:
    path = directory / IMAGES / NAMES[row]
    content = path.read_bytes()
    for damaged in (b"", b"no image", content[: len(content) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=f"{NAMES[row]} cannot be decoded: "):
            load_celeba(directory)
    Image.new("RGB", (200, 218)).save(path)
    message = f"{NAMES[row]} must have 178 x 218 pixels, but has 200 x 218"
    with pytest.raises(ValueError, match=message):
        load_celeba(directory)
    path.unlink()
    with pytest.raises(ValueError, match=f"{NAMES[row]} is missing: {ATTRIBUTES} lists it"):
        load_celeba(directory)
    # Nothing half done is left behind.
    left = {file.name.split("-")[1] for file in directory.glob("*-*")}
    assert left == (set() if row in TRAIN else {"train"})
    path.write_bytes(content)
    assert len(load_celeba(directory).train_images) == len(TRAIN)


def test_grey_images_have_three_channels(directory: Path) -> None:
    path = directory / IMAGES / NAMES[TEST[0]]
    Image.new("L", (178, 218), 100).save(path)
    image = load_celeba(directory).test_images[0]
    assert image.unique().tolist() == [100]


@pytest.mark.parametrize("num_tasks", [0, 41])
def test_number_of_tasks_is_checked(num_tasks: int, directory: Path) -> None:
    message = rf"from 1 to 40, the number of attributes in .*{ATTRIBUTES}, but is {num_tasks}"
    with pytest.raises(ValueError, match=message):
        load_celeba(directory, num_tasks)


def test_cache_that_cannot_be_written_is_named(directory: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    message = r"cannot write .*celeba-train-.* \(.*\): give another directory as cache_dir"
    with pytest.raises(ValueError, match=message):
        load_celeba(directory, cache_dir=blocked)


def test_celeba_is_loaded_by_name(directory: Path, tmp_path: Path) -> None:
    data = load_multi_task("celeba", directory, num_tasks=20, cache_dir=tmp_path / "cache")
    assert data.train_labels.shape == (len(TRAIN), 20)
    assert len(list((tmp_path / "cache").iterdir())) == 2
    with pytest.raises(ValueError, match=f"get {ATTRIBUTES}, {PARTITION} and .* by hand"):
        load_multi_task("celeba")
