# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Labelled images: the digits of scikit-learn, MNIST and Fashion-MNIST."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import pooch
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

from models.data.files import find_file
from models.data.idx import read_idx

__all__ = ["DatasetName", "ImageData", "Split", "load_images"]

DatasetName = Literal["digits", "mnist", "fashion-mnist"]
Split = Literal["test", "train"]


@dataclass(frozen=True, eq=False)
class ImageData:
    """A training and a test set of images with their labels.

    Attributes:
        name: Name of the dataset.
        train_images: float32 in ``[0, 1]``, shape ``(N, 1, H, W)``.
        train_labels: int64, shape ``(N,)``.
        test_images: float32 in ``[0, 1]``, shape ``(M, 1, H, W)``.
        test_labels: int64, shape ``(M,)``.
    """

    name: DatasetName
    train_images: Tensor  # (N, 1, H, W)
    train_labels: Tensor  # (N,)
    test_images: Tensor  # (M, 1, H, W)
    test_labels: Tensor  # (M,)


@dataclass(frozen=True)
class _Source:
    base_url: str
    md5: dict[str, str]


_SOURCES = {
    "mnist": _Source(
        base_url="https://ossci-datasets.s3.amazonaws.com/mnist/",
        md5={
            "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        },
    ),
    "fashion-mnist": _Source(
        base_url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        md5={
            "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
        },
    ),
}


def load_images(
    name: DatasetName, data_dir: Path | None = None, evaluate_on: Split = "test"
) -> ImageData:
    """Load a dataset of labelled images.

    Args:
        name: ``"digits"`` (1,797 images of 8 x 8 pixels that come with scikit-learn, split 70:30
            with equal class shares), ``"mnist"`` or ``"fashion-mnist"`` (60,000 training and
            10,000 test images of 28 x 28 pixels).
        data_dir: Directory with the four IDX files of (Fashion-)MNIST, compressed or not, or with
            a subdirectory of the dataset's name that holds them. Without it, they are downloaded
            once into the user's cache and verified. The digits need none.
        evaluate_on: ``"train"`` takes the training images for the test images as well, whose files
            are then not read.

    Returns:
        Both sets, pixels scaled to ``[0, 1]``.

    Raises:
        ValueError: If the name is unknown, or a file is missing, truncated, corrupt, of another
            layout, or cannot be downloaded.

    Example:
        >>> data = load_images("digits")
        >>> data.train_images.shape, data.test_images.shape
        (torch.Size([1257, 1, 8, 8]), torch.Size([540, 1, 8, 8]))
    """
    if name != "digits" and name not in _SOURCES:
        raise ValueError(f"dataset must be one of {get_args(DatasetName)}, but is {name!r}")

    def load(split: Split) -> tuple[Tensor, Tensor]:
        return _embedded_digits(split) if name == "digits" else _read_pair(name, data_dir, split)

    train = load("train")
    test = train if evaluate_on == "train" else load("test")
    if train[0].shape[1:] != test[0].shape[1:]:
        raise ValueError(
            f"training and test images of {name} must have the same shape, but have "
            f"{tuple(train[0].shape[1:])} and {tuple(test[0].shape[1:])}"
        )
    return ImageData(name, *train, *test)


def _embedded_digits(split: Split) -> tuple[Tensor, Tensor]:
    pixels, labels = load_digits(return_X_y=True)
    images = torch.tensor(pixels / 16, dtype=torch.float32).reshape(-1, 1, 8, 8)
    train, test = train_test_split(
        torch.arange(len(labels)), test_size=0.3, random_state=0, stratify=labels
    )
    rows = train if split == "train" else test
    return images[rows], torch.tensor(labels, dtype=torch.int64)[rows]


def _read_pair(name: str, data_dir: Path | None, split: Split) -> tuple[Tensor, Tensor]:
    def locate(file: str) -> Path:
        if data_dir is None:
            return _download(name, file)
        return find_file(name, data_dir, file, file.removesuffix(".gz"))

    prefix = {"train": "train", "test": "t10k"}[split]
    image_path = locate(f"{prefix}-images-idx3-ubyte.gz")
    label_path = locate(f"{prefix}-labels-idx1-ubyte.gz")
    images = read_idx(image_path, ndim=3)
    labels = read_idx(label_path, ndim=1)
    if images.size == 0:
        raise ValueError(f"{image_path} must hold images, but its shape is {images.shape}")
    if len(images) != len(labels):
        raise ValueError(
            f"{label_path} must hold a label for each of the {len(images)} images in "
            f"{image_path}, but holds {len(labels)}"
        )
    scaled = torch.tensor(images, dtype=torch.float32).div_(255).unsqueeze(1)
    return scaled, torch.tensor(labels, dtype=torch.int64)


def _download(name: str, file: str) -> Path:
    source = _SOURCES[name]
    files = pooch.create(
        path=Path(pooch.os_cache("pyro-drpm")) / name,
        base_url=source.base_url,
        registry={file: f"md5:{digest}" for file, digest in source.md5.items()},
    )
    try:
        return Path(files.fetch(file, progressbar=True))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"cannot download {files.get_url(file)} ({error}): get the files of {name} by hand and "
            "pass their directory as data_dir"
        ) from error
