# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Sources of pairs of images: drawn from known factors, or pairs of one's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.data.factors import FactorImages, ImagePair, SharedFactors
from models.data.items import as_items, encode_labels, fit_scaler
from models.data.own_files import read_arrays, read_images

__all__ = ["FactorPairs", "OwnPairs", "PairSource", "load_pairs"]

_CHANNELS = (1, 3, 4)
_TEST_EVERY = 5


class PairSource(Protocol):
    """Pairs of images.

    Attributes:
        image_shape: Channels, height and width.
        device: Where images are made.
    """

    @property
    def image_shape(self) -> tuple[int, int, int]: ...

    @property
    def device(self) -> torch.device: ...

    def sample(self, number: int) -> ImagePair:
        """Draw pairs at random."""
        ...


@dataclass(frozen=True)
class FactorPairs:
    """Pairs that have some of the factors of a dataset in common.

    Attributes:
        data: The dataset.
        n_shared: Number of shared factors.
        shared_factors: Which ones, see :meth:`FactorImages.sample_pair`.
    """

    data: FactorImages
    n_shared: int
    shared_factors: SharedFactors = "first"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.data.image_shape

    @property
    def device(self) -> torch.device:
        return self.data.device

    def sample(self, number: int) -> ImagePair:
        return self.data.sample_pair(self.n_shared, number, self.shared_factors)


@dataclass(frozen=True, eq=False)
class OwnPairs:
    """Pairs of one's own, and their factors if these are known.

    Attributes:
        images: Pixels in ``[0, 1]``, float32, shape ``(N, 2, C, H, W)``.
        ids: Name of every pair.
        factors: Values of the factors, int64, shape ``(N, 2, F)``; without any ``F`` is 0.
    """

    images: Tensor
    ids: tuple[str, ...]
    factors: Tensor

    @property
    def image_shape(self) -> tuple[int, int, int]:
        channels, height, width = self.images.shape[2:]
        return channels, height, width

    @property
    def device(self) -> torch.device:
        return self.images.device

    def __len__(self) -> int:
        return len(self.images)

    def sample(self, number: int) -> ImagePair:
        """Draw pairs at random, each as often as it comes."""
        return self.take(torch.randint(len(self), (number,), device=self.device))

    def take(self, rows: Tensor) -> ImagePair:
        """Give pairs by their numbers; factors are shared where both views have the same value."""
        factors = self.factors[rows]
        return ImagePair(self.images[rows], factors, factors[:, 0] == factors[:, 1])

    def split(self) -> tuple[OwnPairs, OwnPairs]:
        """Give the pairs to train on, and every fifth, to look at what came of it."""
        is_test = torch.arange(len(self)) % _TEST_EVERY == _TEST_EVERY - 1
        return self._select(~is_test), self._select(is_test)

    def _select(self, which: Tensor) -> OwnPairs:
        ids = tuple(name for name, chosen in zip(self.ids, which.tolist(), strict=True) if chosen)
        which = which.to(self.device)
        return OwnPairs(self.images[which], ids, self.factors[which])

    def to(self, device: torch.device | str) -> OwnPairs:
        """Give the same on a device."""
        return OwnPairs(self.images.to(device), self.ids, self.factors.to(device))


def load_pairs(
    paths: tuple[Path, ...], *, array: str | None = None, factors: str | None = None
) -> OwnPairs:
    """Load pairs of images of one's own.

    Args:
        paths: An ``.npz`` or ``.npy`` file with images of shape ``(N, 2, C, H, W)``,
            ``(N, 2, H, W, C)`` or ``(N, 2, H, W)``; or two folders with images of the same names.
        array: Name of the array of an ``.npz`` file; not needed where there is one alone beside
            the factors.
        factors: Name of the array of an ``.npz`` file with the values of the factors, shape
            ``(N, 2, F)``, each a class of any kind.

    Raises:
        ValueError: If a file cannot be read or does not hold what it should, images have negative
            values, there are fewer than five pairs, or the names in both folders differ.
    """
    if len(paths) == 2:
        if array is not None or factors is not None:
            raise ValueError("array and factors are for an .npz file, but data are two folders")
        images, ids = _read_folders(*paths)
        values = np.empty((len(images), 2, 0), np.int64)
    elif len(paths) == 1:
        images, values = _read_file(paths[0], array, factors)
        ids = tuple(map(str, range(len(images))))
    else:
        raise ValueError(f"data must be a file or two folders, but are {len(paths)} paths")
    if len(images) < _TEST_EVERY:
        raise ValueError(f"there must be at least {_TEST_EVERY} pairs, but are {len(images)}")
    flat = images.reshape(-1, *images.shape[2:])
    scaler = fit_scaler(flat)
    if not scaler.is_pixels:
        raise ValueError(f"pixels must not be negative, but one is {images.min()}")
    return OwnPairs(scaler(flat).unflatten(0, (-1, 2)), ids, torch.as_tensor(values))


def _read_folders(first: Path, second: Path) -> tuple[NDArray[Any], tuple[str, ...]]:
    for folder in (first, second):
        if not folder.is_dir():
            raise ValueError(f"data must be two folders, but {folder} is none")
    (images, names), (others, other_names) = read_images(first), read_images(second)
    if lonely := set(names) ^ set(other_names):
        name = sorted(lonely)[0]
        folder, other = (first, second) if name in names else (second, first)
        raise ValueError(f"{folder / name} has no partner: {other / name} does not exist")
    if images.shape != others.shape:
        raise ValueError(
            f"images of both folders must have one size and colours, but have the shapes "
            f"{images.shape[1:]} and {others.shape[1:]}"
        )
    return np.stack([images, others], 1), tuple(name.as_posix() for name in names)


def _read_file(
    path: Path, array: str | None, factors: str | None
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    if path.suffix not in {".npy", ".npz"}:
        raise ValueError(f"data must be an .npy or .npz file or two folders, but are {path}")
    if not path.exists():
        raise ValueError(f"{path} does not exist")
    arrays = read_arrays(path)
    for name in (array, factors):
        if name is not None and name not in arrays:
            raise ValueError(f"{path} has no array {name!r}, but {', '.join(arrays) or 'none'}")
    candidates = [name for name in arrays if name != factors]
    if array is None and len(candidates) != 1:
        raise ValueError(
            f"{path} must hold one array beside the factors, but holds "
            f"{', '.join(candidates) or 'none'}: name it with --array"
        )
    name = array or candidates[0]
    images = _check_pairs(f"array {name!r} of {path}", arrays[name])
    if factors is None:
        return images, np.empty((len(images), 2, 0), np.int64)
    return images, _check_factors(f"factors {factors!r} of {path}", arrays[factors], len(images))


def _check_pairs(what: str, pairs: NDArray[Any]) -> NDArray[Any]:
    """Give pairs with their channels first."""
    is_grey, is_color = pairs.ndim == 4, pairs.ndim == 5 and pairs.shape[2] in _CHANNELS
    is_color_last = pairs.ndim == 5 and pairs.shape[-1] in _CHANNELS
    if pairs.shape[1:2] != (2,) or not (is_grey or is_color or is_color_last):
        raise ValueError(
            f"{what} must have the shape (N, 2, C, H, W), with 1, 3 or 4 channels, or (N, 2, H, W),"
            f" but has {pairs.shape}"
        )
    if is_color:
        pairs = np.moveaxis(pairs, 2, -1)
    flat = as_items(pairs.reshape(-1, *pairs.shape[2:]), what)
    return flat.reshape(-1, 2, *flat.shape[1:])


def _check_factors(what: str, factors: NDArray[Any], number: int) -> NDArray[np.int64]:
    if factors.ndim != 3 or factors.shape[:2] != (number, 2):
        raise ValueError(f"{what} must have the shape ({number}, 2, F), but have {factors.shape}")
    codes = [encode_labels(factors[..., f].ravel())[0].view(-1, 2) for f in range(factors.shape[2])]
    return torch.stack(codes, -1).numpy()
