# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Pairs of images of one's own, from a file or two folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.data.items import CHANNELS, TEST_EVERY, as_items, as_pixels, encode_labels
from models.data.own_files import choose_array, read_arrays, read_images
from models.data.pairs import OwnPairs

__all__ = ["load_pairs"]


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
        values = _no_factors(len(images))
    elif len(paths) == 1:
        images, values = _read_file(paths[0], array, factors)
        ids = tuple(map(str, range(len(images))))
    else:
        raise ValueError(f"data must be a file or two folders, but are {len(paths)} paths")
    if len(images) < TEST_EVERY:
        raise ValueError(f"there must be at least {TEST_EVERY} pairs, but are {len(images)}")
    pixels = as_pixels(images.reshape(-1, *images.shape[2:])).unflatten(0, (-1, 2))
    return OwnPairs(pixels, ids, values)


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


def _read_file(path: Path, array: str | None, factors: str | None) -> tuple[NDArray[Any], Tensor]:
    if path.suffix not in {".npy", ".npz"}:
        raise ValueError(f"data must be an .npy or .npz file or two folders, but are {path}")
    if not path.exists():
        raise ValueError(f"{path} does not exist")
    arrays = read_arrays(path)
    name = choose_array(path, arrays, array, factors)
    images = _check_pairs(f"array {name!r} of {path}", arrays[name])
    if factors is None:
        return images, _no_factors(len(images))
    return images, _check_factors(f"factors {factors!r} of {path}", arrays[factors], len(images))


def _check_pairs(what: str, pairs: NDArray[Any]) -> NDArray[Any]:
    """Give pairs with their channels first."""
    is_grey, is_color = pairs.ndim == 4, pairs.ndim == 5 and pairs.shape[2] in CHANNELS
    is_color_last = pairs.ndim == 5 and pairs.shape[-1] in CHANNELS
    if pairs.shape[1:2] != (2,) or not (is_grey or is_color or is_color_last):
        raise ValueError(
            f"{what} must have the shape (N, 2, C, H, W), with 1, 3 or 4 channels, or (N, 2, H, W),"
            f" but has {pairs.shape}"
        )
    if is_color:
        pairs = np.moveaxis(pairs, 2, -1)
    flat = as_items(pairs.reshape(-1, *pairs.shape[2:]), what)
    return flat.reshape(-1, 2, *flat.shape[1:])


def _no_factors(number: int) -> Tensor:
    return torch.empty(number, 2, 0, dtype=torch.int64)


def _check_factors(what: str, factors: NDArray[Any], number: int) -> Tensor:
    if factors.ndim != 3 or factors.shape[:2] != (number, 2):
        raise ValueError(f"{what} must have the shape ({number}, 2, F), but have {factors.shape}")
    ids = [f"{pair}, view {view}" for pair in range(number) for view in range(2)]
    codes = [encode_labels(factor, what, ids)[0] for factor in factors.reshape(2 * number, -1).T]
    return torch.stack(codes, -1).view(number, 2, -1)
