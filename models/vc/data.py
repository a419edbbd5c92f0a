# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""What is clustered, whatever it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from models.data import Split, load_images
from models.vc.config import Dataset

__all__ = ["ClusterData", "load_dataset"]


@dataclass(frozen=True, eq=False)
class ClusterData:
    """Items to train on and items to cluster then, which may be the same.

    Attributes:
        name: Name of the dataset.
        train: Images, float32, shape ``(N, C, H, W)``, or features, shape ``(N, D)``.
        test: The same for the items that are clustered, ``M`` in the place of ``N``.
        labels: Classes of these, int64, shape ``(M,)``; none if they are not known.
    """

    name: str
    train: Tensor  # (N, C, H, W) or (N, D)
    test: Tensor  # (M, C, H, W) or (M, D)
    labels: Tensor | None  # (M,)

    @property
    def item_shape(self) -> tuple[int, ...]:
        """``(C, H, W)`` or ``(D,)``."""
        return tuple(self.train.shape[1:])

    @property
    def num_values(self) -> int:
        """Number ``D`` of values of an item, all colours of all pixels of an image."""
        return self.train[0].numel()

    @property
    def has_images(self) -> bool:
        """Whether items are images."""
        return len(self.item_shape) == 3


def load_dataset(name: Dataset, data_dir: Path | None, evaluate_on: Split) -> ClusterData:
    """Load images that come with scikit-learn or are downloaded, see :func:`load_images`."""
    if name == "own":
        raise ValueError("dataset own needs a file: give it with --data")
    data = load_images(name, data_dir, evaluate_on)
    return ClusterData(name, data.train_images, data.test_images, data.test_labels)
