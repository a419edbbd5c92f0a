# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Settings of a run of DRPM-MTL, with the defaults of each dataset."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from models.mtl.shares import PartitionKind
from models.runs.jobs import JobSettings

__all__ = ["PRESETS", "Config", "Dataset", "Method", "own_preset"]

Dataset = Literal["multi-digits", "multi-mnist", "celeba", "own"]
Method = Literal["uls", "drpm"]


@dataclass(frozen=True)
class Config(JobSettings):
    """Train DRPM-MTL and its baseline ULS on images with several labels.

    Defaults depend on the data and the dataset: "--data FILE --labels TABLE --help" shows those for
    your own, "--dataset celeba --help" those of CelebA.
    """

    data: Path | None = None
    """Your own images: a folder (.png, .jpg) or a file (.npz, .npy)."""
    labels: Path | None = None
    """Table (.csv, .parquet) with a column of labels for each task."""
    ids: str | None = None
    """Column of the table with the names of the images, if it is not in their order."""
    array: str | None = None
    """Name of the array in an .npz file, if it holds several."""
    dataset: Dataset = "multi-digits"
    """Pairs of overlapping digits, of scikit-learn's or of MNIST, or the attributes of CelebA; your
    own images, if you give them."""
    data_dir: Path | None = None
    """Directory of the files of MNIST, downloaded if not given, or of CelebA."""
    methods: tuple[Method, ...] = get_args(Method)
    """Methods to compare."""
    noise_ratios: tuple[float, ...] = (0.0, 0.3, 0.6, 0.8)
    """Shares of the right digit's pixels that are set to zero; every method is trained for each."""
    num_tasks: tuple[int, ...] = (10, 20)
    """Numbers of attributes of CelebA; every method is trained for each."""

    epochs: int = 200
    """Epochs of every training."""
    batch_size: int = 256
    """Images of a step."""
    learning_rate: float = 5e-4
    """Learning rate (Adam)."""
    network: Literal["lenet", "resnet"] = "lenet"
    """Encoder of the images: two convolutions, or a ResNet-18."""
    num_features: int = 50
    """Neurons of the layer that is partitioned."""
    partition: PartitionKind = "noiseless"
    """Partition of DRPM-MTL: without noise and hard, without noise and relaxed, or sampled."""
    size_weight: float = 0.0
    """Weight of the penalty of large subsets."""

    def validate(self) -> None:
        super().validate()
        self.require_positive("epochs", "batch_size", "learning_rate", "num_features")
        self.require_non_negative("size_weight")
        if (self.data is None) != (self.labels is None):
            raise ValueError("data and labels belong together: give both")
        if (self.dataset == "own") != (self.data is not None):
            raise ValueError(
                f"dataset own and data belong together, but the dataset is {self.dataset} and data "
                f"is {self.data or 'not given'}"
            )
        if self.data_dir is not None and self.dataset in {"multi-digits", "own"}:
            raise ValueError(
                f"data_dir is for multi-mnist and celeba, but is {self.data_dir} and the dataset "
                f"is {self.dataset}: give images of your own with --data and --labels"
            )
        self.require_different("methods", "noise_ratios", "num_tasks")
        for ratio in self.noise_ratios:
            if not 0 <= ratio <= 1:
                raise ValueError(f"noise_ratios must be numbers from 0 to 1, but one is {ratio}")
        for number in self.num_tasks:
            if number < 1:
                raise ValueError(f"num_tasks must be positive, but one is {number}")


PRESETS: dict[str, Config] = {
    "multi-digits": Config(
        out=Path("runs/mtl/multi-digits"), epochs=60, batch_size=64, learning_rate=1e-3
    ),
    "multi-mnist": Config(
        out=Path("runs/mtl/multi-mnist"),
        dataset="multi-mnist",
        noise_ratios=tuple(tenths / 10 for tenths in range(10)),
    ),
    "celeba": Config(
        out=Path("runs/mtl/celeba"),
        dataset="celeba",
        network="resnet",
        epochs=50,
        batch_size=128,
        learning_rate=1e-4,
        num_features=64,
        size_weight=0.015,
    ),
}
"""Defaults of every dataset; those of MNIST and CelebA are the paper's."""

_OWN_STEPS = 3000
_LARGE = 40  # pixels


def own_preset(image_shape: tuple[int, ...], train_images: int) -> Config:
    """Give the defaults for images of one's own.

    Args:
        image_shape: Channels, height and width.
        train_images: Number of images to train on.
    """
    batch_size = min(64, train_images)
    return replace(
        PRESETS["multi-digits"],
        dataset="own",
        out=Path("runs/mtl/own"),
        network="resnet" if max(image_shape[1:]) > _LARGE else "lenet",
        batch_size=batch_size,
        epochs=-(-_OWN_STEPS * batch_size // train_images),
        checkpoint_every=10,
    )
