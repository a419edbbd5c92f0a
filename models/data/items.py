# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Items of one's own: images or features, as they come and as networks take them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = [
    "CHANNELS",
    "TEST_EVERY",
    "Items",
    "Scaler",
    "Scaling",
    "are_pixels",
    "as_items",
    "as_pixels",
    "encode_labels",
    "fit_scaler",
    "held_out",
]

Scaling = Literal["columns", "common"]

CHANNELS = (1, 3, 4)  # of images
TEST_EVERY = 5


@dataclass(frozen=True, eq=False)
class Items:
    """Items of one's own.

    Attributes:
        values: Images, shape ``(N, C, H, W)``, or features, shape ``(N, D)``; numbers, all finite.
        ids: Name of every item.
        columns: Names of the features of a table.
        labels: Classes counted from 0, int64, shape ``(N,)``, if they are known.
        classes: Their names.
    """

    values: NDArray[Any]  # (N, C, H, W) or (N, D)
    ids: tuple[str, ...]
    columns: tuple[str, ...] = ()
    labels: Tensor | None = None  # (N,)
    classes: tuple[str, ...] = ()

    @property
    def are_images(self) -> bool:
        """Whether the items are images."""
        return self.values.ndim == 4


def as_items(values: NDArray[Any], what: str = "the data") -> NDArray[Any]:
    """Check images or features, and give images with their channels first.

    Args:
        values: Images, shape ``(N, H, W)`` or ``(N, H, W, C)``, or features, shape ``(N, D)``.
        what: What they are called in an error.

    Returns:
        Images, shape ``(N, C, H, W)``, or features, shape ``(N, D)``.

    Raises:
        ValueError: If they are no numbers, one is infinite or missing, or the shape is another.
    """
    if values.dtype.kind not in "buif":
        raise ValueError(f"{what} must hold numbers, but has the type {values.dtype}")
    is_color = values.ndim == 4 and values.shape[-1] in CHANNELS
    if (values.ndim not in {2, 3} and not is_color) or 0 in values.shape:
        raise ValueError(
            f"{what} must have the shape (N, H, W) or (N, H, W, C) of images, with 1, 3 or 4 "
            f"channels, or (N, D) of features, but has {values.shape}"
        )
    infinite = np.argwhere(~np.isfinite(values))
    if len(infinite):
        place = ", ".join(map(str, infinite[0]))
        raise ValueError(
            f"{what} must hold finite numbers, but has {values[tuple(infinite[0])]} at [{place}]"
        )
    if values.ndim == 3:
        return values[:, None]
    return np.ascontiguousarray(np.moveaxis(values, -1, 1)) if is_color else values


def encode_labels(
    labels: NDArray[Any] | pd.Series[Any], what: str, ids: Sequence[str]
) -> tuple[Tensor, tuple[str, ...]]:
    """Number the classes in the order of their names.

    Args:
        labels: Shape ``(N,)``, numbers or text.
        what: What they are called in an error.
        ids: Names of the items.

    Returns:
        Classes counted from 0, int64, shape ``(N,)``, and their names.

    Raises:
        ValueError: If one is missing.

    Example:
        >>> encode_labels(np.array(["b", "a", "b"]), "labels", ids=["0", "1", "2"])
        (tensor([1, 0, 1]), ('a', 'b'))
    """
    codes, classes = pd.factorize(labels, sort=True)
    if (codes < 0).any():
        raise ValueError(f"{what} have no value for item {ids[int((codes < 0).argmax())]!r}")
    return torch.as_tensor(codes, dtype=torch.int64), tuple(map(str, classes))


def held_out(number: int) -> Tensor:
    """Mark every fifth item, to look at what came of training on the others; bool ``(number,)``."""
    return torch.arange(number) % TEST_EVERY == TEST_EVERY - 1


@dataclass(frozen=True, eq=False)
class Scaler:
    """The map from values to what networks take, ``(value - center) / scale``.

    Attributes:
        center: Broadcastable with the values of an item, float64.
        scale: Likewise, positive.
        is_pixels: Whether it maps images to grey values or colours from 0 to 1; what it gives is
            standardised otherwise.
    """

    center: Tensor
    scale: Tensor
    is_pixels: bool

    def __call__(self, values: NDArray[Any]) -> Tensor:
        """Scale values of shape ``(n, *shape)``; float32, the same shape."""
        scaled = (torch.tensor(values, dtype=torch.float64) - self.center) / self.scale
        return scaled.float()


def are_pixels(values: NDArray[Any]) -> bool:
    """Whether values are those of images, none of them negative."""
    return values.ndim == 4 and bool(values.min() >= 0)


def as_pixels(values: NDArray[Any]) -> Tensor:
    """Scale images to grey values or colours from 0 to 1, float32, as :func:`fit_scaler` does.

    Raises:
        ValueError: If one is negative.
    """
    if not are_pixels(values):
        raise ValueError(f"pixels must not be negative, but one is {values.min()}")
    return fit_scaler(values)(values)


def fit_scaler(values: NDArray[Any], scaling: Scaling = "columns") -> Scaler:
    """Find the scale of items.

    Images without negative values are divided by 255 if they are bytes, by the largest value if
    that is above 1, and taken as they are otherwise. Other images are standardised, each colour on
    its own.

    Args:
        values: Images, shape ``(N, C, H, W)``, or features, shape ``(N, D)``.
        scaling: Whether each feature is standardised on its own, or all, once they are centered, by
            the same factor. Features that are all the same become 0.

    Example:
        >>> fit_scaler(np.array([[1.0, 5.0], [3.0, 5.0]]))(np.array([[2.0, 5.0], [4.0, 6.0]]))
        tensor([[0., 0.],
                [2., 1.]])
    """
    zero, one = torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64)
    if are_pixels(values):
        largest = 255.0 if values.dtype == np.uint8 else max(float(values.max()), 1.0)
        return Scaler(zero, one * largest, is_pixels=True)
    numbers = torch.tensor(values, dtype=torch.float64)
    dims = (0, 2, 3) if values.ndim == 4 else (0,)
    variance, center = torch.var_mean(numbers, dims, correction=0, keepdim=True)
    if scaling == "common":
        variance = variance.mean().expand_as(variance)
    scale = variance.sqrt().where(variance > 0, one)
    return Scaler(center.squeeze(0), scale.squeeze(0), is_pixels=False)
