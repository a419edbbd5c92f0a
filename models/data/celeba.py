# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""CelebA: faces with binary attributes, read as they are published."""

from __future__ import annotations

import os
import zlib
from multiprocessing.pool import ThreadPool
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from models.data.files import find_file
from models.data.multi_task import MultiTaskData

__all__ = ["load_celeba"]

_ATTRIBUTES = "list_attr_celeba.txt"
_PARTITION = "list_eval_partition.txt"
_IMAGES = "img_align_celeba"
_SPLITS = {"0": "train", "1": "valid", "2": "test"}
_PUBLISHED_SIZE = (178, 218)  # width and height
_SIZE = 64


def load_celeba(
    data_dir: Path, num_tasks: int = 10, cache_dir: Path | None = None
) -> MultiTaskData:
    """Load CelebA (Liu et al., ICCV 2015), each of its first attributes being a task.

    Images are resized from 178 x 218 to 64 x 64 pixels, by Pillow's bilinear filter with
    antialiasing; nothing is cropped, so that faces become a little wider. Those of a split are
    decoded once, with a progress bar, into a file ``celeba-<split>-64x64-<checksum>.npy``, 2.2 GB
    in all, which is mapped into memory then and later. The checksum is that of the list of images:
    another list makes another file, and a damaged file is replaced. To have images read again that
    were replaced under the same names, delete it.

    Args:
        data_dir: Directory with ``list_attr_celeba.txt``, ``list_eval_partition.txt`` and the
            directory ``img_align_celeba``, or with a subdirectory ``celeba`` that holds them. The
            last is not needed any more when its images have been decoded.
        num_tasks: Number of attributes, in the order of the file.
        cache_dir: Where decoded images are kept, next to the attributes if not given.

    Returns:
        The training and the test set, images 3 x 64 x 64 and normalised to ``[-1, 1]``, labels 1
        where the attribute is present and 0 elsewhere. Validation images are left out.

    Raises:
        ValueError: If a file or an image is missing or has another layout than the published one,
            there are fewer attributes than tasks, or decoded images cannot be written.
    """
    attributes_path = find_file("celeba", data_dir, _ATTRIBUTES)
    partition_path = find_file("celeba", data_dir, _PARTITION)
    task_names, names, labels = _read_attributes(attributes_path, num_tasks)
    split_of_image = _read_partition(partition_path, names)

    def load_split(split: str) -> tuple[Tensor, Tensor]:
        rows = np.flatnonzero(split_of_image == split)
        if len(rows) == 0:
            raise ValueError(f"{partition_path} must assign images to {split}, but assigns none")
        folder = attributes_path.parent / _IMAGES
        directory = attributes_path.parent if cache_dir is None else cache_dir
        images = _cached_images(directory, split, folder, [names[row] for row in rows])
        return torch.from_numpy(images), torch.from_numpy(labels[rows])

    train_images, train_labels = load_split("train")
    test_images, test_labels = load_split("test")
    return MultiTaskData(
        *(train_images, train_labels, test_images, test_labels),
        task_names=task_names,
        num_classes=(2,) * len(task_names),
        mean=0.5,
        std=0.5,
    )


def _read_attributes(
    path: Path, num_tasks: int
) -> tuple[tuple[str, ...], list[str], NDArray[np.int64]]:
    """Names of the first attributes, names of the images, and labels, a row for each image."""
    lines = _read_lines(path)
    if len(lines) < 2 or not lines[0].strip().isdecimal():
        raise ValueError(
            f"{path} must start with a line of the number of images and one of the names of "
            f"attributes, but starts with {lines[:1]}"
        )
    count, attributes, rows = int(lines[0]), lines[1].split(), lines[2:]
    if len(rows) != count:
        raise ValueError(f"{path} announces {count} images, but lists {len(rows)}")
    if not 1 <= num_tasks <= len(attributes):
        raise ValueError(
            f"num_tasks must be a number from 1 to {len(attributes)}, the number of attributes in "
            f"{path}, but is {num_tasks}"
        )
    names = []
    labels = np.empty((count, num_tasks), dtype=np.int64)
    for row, line in enumerate(rows):
        name, *values = _split_line(path, row + 3, line, 1 + len(attributes))
        if wrong := set(values) - {"1", "-1"}:
            raise ValueError(
                f"attributes must be 1 or -1, but are {', '.join(sorted(wrong))} in line {row + 3} "
                f"of {path}"
            )
        names.append(name)
        labels[row] = [value == "1" for value in values[:num_tasks]]
    return tuple(attributes[:num_tasks]), names, labels


def _read_partition(path: Path, names: list[str]) -> NDArray[np.str_]:
    """The split that each of the images belongs to."""
    lines = _read_lines(path)
    if len(lines) != len(names):
        raise ValueError(
            f"{path} must have a line for each of the {len(names)} images in {_ATTRIBUTES}, but "
            f"has {len(lines)}"
        )
    splits = []
    for number, (line, expected) in enumerate(zip(lines, names, strict=True), start=1):
        name, code = _split_line(path, number, line, 2)
        if name != expected:
            raise ValueError(
                f"line {number} of {path} must name {expected}, as {_ATTRIBUTES} does, but names "
                f"{name}"
            )
        if code not in _SPLITS:
            raise ValueError(
                f"the split must be one of {', '.join(_SPLITS)}, but is {code} in line {number} "
                f"of {path}"
            )
        splits.append(_SPLITS[code])
    return np.array(splits)


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8").splitlines()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text file: {error}") from error


def _split_line(path: Path, number: int, line: str, columns: int) -> list[str]:
    values = line.split()
    if len(values) != columns:
        raise ValueError(
            f"line {number} of {path} must have {columns} columns, but has {len(values)}"
        )
    return values


def _cached_images(
    directory: Path, split: str, folder: Path, names: list[str]
) -> NDArray[np.uint8]:
    """The images of a split, ``(N, 3, 64, 64)``, decoded if they have not been before."""
    checksum = zlib.crc32("\n".join(names).encode())
    path = directory / f"celeba-{split}-{_SIZE}x{_SIZE}-{checksum:08x}.npy"
    shape = (len(names), 3, _SIZE, _SIZE)
    images = _map(path, shape)
    if images is None:
        _decode_all(path, shape, split, [folder / name for name in names])
        images = np.lib.format.open_memmap(path, mode="c")
    return images


def _map(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    try:
        # Copy-on-write, for PyTorch warns of arrays that are read-only.
        images = np.lib.format.open_memmap(path, mode="c")
    except (OSError, ValueError):  # missing or truncated
        return None
    return images if images.dtype == np.uint8 and images.shape == shape else None


def _decode_all(path: Path, shape: tuple[int, ...], split: str, images: list[Path]) -> None:
    """Write all images into one file, which appears when it is complete."""
    if not images[0].parent.is_dir():
        raise ValueError(f"{images[0].parent} is missing: celeba needs its images")
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix="decoding-", dir=path.parent) as scratch:
            incomplete = Path(scratch, path.name)
            with incomplete.open("wb") as file, ThreadPool() as pool:
                np.lib.format.write_array_header_1_0(file, header)
                decoded = pool.imap(_decode, images, chunksize=32)
                title = f"decoding celeba {split}"
                for pixels in tqdm(decoded, title, len(images), unit="image", dynamic_ncols=True):
                    file.write(pixels)
            os.replace(incomplete, path)
    except OSError as error:
        raise ValueError(
            f"cannot write {path} ({error.strerror}): give another directory as cache_dir"
        ) from error


def _decode(path: Path) -> bytes:
    """Pixels of an image, row-major, ``(3, 64, 64)``."""
    if not path.is_file():
        raise ValueError(f"{path} is missing: {_ATTRIBUTES} lists it")
    try:
        with Image.open(path) as image:
            if image.size != _PUBLISHED_SIZE:
                raise ValueError(
                    f"{path} must have {_PUBLISHED_SIZE[0]} x {_PUBLISHED_SIZE[1]} pixels, but has "
                    f"{image.size[0]} x {image.size[1]}"
                )
            resized = image.convert("RGB").resize((_SIZE, _SIZE), Image.Resampling.BILINEAR)
    except OSError as error:
        raise ValueError(f"{path} cannot be decoded: {error}") from error
    return np.asarray(resized).transpose(2, 0, 1).tobytes()
