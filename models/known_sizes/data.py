# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Data sets that come with scikit-learn, whose classes are clusters of known sizes."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler
from torch import Tensor

__all__ = ["DataName", "Dataset", "load_dataset"]

DataName = Literal["iris", "wine", "digits"]

_LOADERS = {"iris": load_iris, "wine": load_wine, "digits": load_digits}
_COMPONENTS = 10  # of the digits


class Dataset(NamedTuple):
    """Points, and the classes that they are of.

    Attributes:
        points: Features with mean 0 and variance 1, shape ``(n, D)``.
        classes: Shape ``(n,)``, for scoring and for the sizes.
    """

    points: Tensor
    classes: Tensor

    @property
    def sizes(self) -> Tensor:
        """Sizes of the classes, shape ``(K,)``."""
        return self.classes.bincount()


def load_dataset(name: DataName) -> Dataset:
    """Load one of them; of the digits the first ten principal components.

    Example:
        >>> load_dataset("iris").points.shape, load_dataset("wine").sizes
        (torch.Size([150, 4]), tensor([59, 71, 48]))
    """
    features, classes = _LOADERS[name](return_X_y=True)
    if name == "digits":
        features = PCA(_COMPONENTS).fit_transform(features)
    points = StandardScaler().fit_transform(features)
    return Dataset(torch.as_tensor(points, dtype=torch.float32), torch.as_tensor(classes))
