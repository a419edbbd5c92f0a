# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The published files of mpi3d and dSprites: an image for each combination of factors."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.data.factors import FactorImages

__all__ = ["TableImages", "load_dsprites", "load_mpi3d"]

_MPI3D_NAMES = (
    *("object_color", "object_shape", "object_size", "camera_height", "background_color"),
    *("horizontal_axis", "vertical_axis"),
)
# The original colours and shapes, and the files that have six of both.
_MPI3D_SIZES = ((4, 4, 2, 3, 3, 40, 40), (6, 6, 2, 3, 3, 40, 40))
# Without the colour, which is white in all images.
_DSPRITES_NAMES = ("shape", "scale", "orientation", "x", "y")
_DSPRITES_SIZES = (3, 6, 40, 32, 32)
_PIXELS = (64, 64)


class TableImages(FactorImages):
    """Images of all combinations of factors, looked up in a table.

    Args:
        table: One image for each combination of factors in row-major order, the last factor
            changing fastest; uint8, shape ``(N, H, W, C)``. It stays so, on the device.
        factor_names: One name per factor.
        factor_sizes: Number of values of each factor; their product is ``N``.
        white: Value of the table that stands for 1.
        device: Where images are kept and looked up.

    Raises:
        ValueError: If there is not one image for each combination.

    Example:
        >>> table = torch.arange(6, dtype=torch.uint8).reshape(6, 1, 1, 1)
        >>> data = TableImages(table, ("row", "column"), (2, 3), white=5)
        >>> data.images(torch.tensor([[0, 0], [1, 2]])).flatten()
        tensor([0., 1.])
    """

    def __init__(
        self,
        table: Tensor,
        factor_names: Sequence[str],
        factor_sizes: Sequence[int],
        white: int = 255,
        device: torch.device | str = "cpu",
    ) -> None:
        if len(table) != math.prod(factor_sizes):
            raise ValueError(
                f"factors of sizes {tuple(factor_sizes)} need {math.prod(factor_sizes)} images, "
                f"but there are {len(table)}"
            )
        height, width, channels = table.shape[1:]
        self.factor_names = tuple(factor_names)
        self.factor_sizes = tuple(factor_sizes)
        self.image_shape = (channels, height, width)
        self.device = torch.device(device)
        self._table = table.to(self.device)
        strides = [math.prod(factor_sizes[k + 1 :]) for k in range(len(factor_sizes))]
        self._strides = torch.tensor(strides, device=self.device)
        self._white = white

    def images(self, factors: Tensor) -> Tensor:
        pixels = self._table[(factors * self._strides).sum(-1)].movedim(-1, 1)
        return pixels.to(torch.float32, memory_format=torch.contiguous_format).div_(self._white)


def load_mpi3d(
    path: Path,
    device: torch.device | str = "cpu",
    factor_sizes: Sequence[tuple[int, ...]] = _MPI3D_SIZES,
) -> TableImages:
    """Load a file of mpi3d (Gondal et al., NeurIPS 2019), such as ``mpi3d_toy.npz``.

    Its only array, ``images``, has shape ``(N, 64, 64, 3)`` and is row-major over colour, shape
    and size of the object, height of the camera, colour of the background, and the positions of
    the arm's horizontal and vertical axes.

    Args:
        path: The file.
        device: Where images are kept and looked up.
        factor_sizes: Numbers of values that the factors may have; the length of the file decides.
            The published files have 460,800 (four colours and shapes) or 1,036,800 images (six).

    Returns:
        The images, 3 x 64 x 64.

    Raises:
        ValueError: If the file is missing, corrupt or of another layout.
    """
    (images,) = _read_arrays(path, "images")
    sizes_of_length = {math.prod(sizes): sizes for sizes in factor_sizes}
    _check_images(path, "images", images, (*_PIXELS, 3), list(sizes_of_length))
    table = torch.from_numpy(images)
    return TableImages(table, _MPI3D_NAMES, sizes_of_length[len(images)], device=device)


def load_dsprites(
    path: Path,
    device: torch.device | str = "cpu",
    factor_sizes: tuple[int, ...] = _DSPRITES_SIZES,
) -> TableImages:
    """Load the file of dSprites (Matthey et al., 2017).

    Its array ``imgs`` has shape ``(N, 64, 64)``, black 0 and white 1; ``latents_classes`` lists the
    factors of each image: colour, shape, scale, orientation, x and y. The colour, which is the same
    in all images, is left out.

    Args:
        path: The file, ``dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz``.
        device: Where images are kept and looked up.
        factor_sizes: Number of values of each factor but the colour.

    Returns:
        The images, 1 x 64 x 64.

    Raises:
        ValueError: If the file is missing, corrupt or of another layout.
    """
    images, classes = _read_arrays(path, "imgs", "latents_classes")
    _check_images(path, "imgs", images, _PIXELS, [math.prod(factor_sizes)])
    if images.max() > 1:
        raise ValueError(f"imgs in {path} must be 0 or 1, but has the value {images.max()}")
    row_major = np.indices((1, *factor_sizes)).reshape(1 + len(factor_sizes), -1).T
    if not np.array_equal(classes, row_major):
        raise ValueError(
            f"latents_classes in {path} must list all combinations of {(1, *factor_sizes)} values "
            f"in row-major order, but does not: its shape is {classes.shape}"
        )
    table = torch.from_numpy(images)[..., None]
    return TableImages(table, _DSPRITES_NAMES, factor_sizes, white=1, device=device)


def _read_arrays(path: Path, *names: str) -> list[NDArray[Any]]:
    if not path.is_file():
        raise ValueError(f"{path} does not exist or is no file")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is no npz file, is truncated or cannot be read")
    try:
        with np.load(path, allow_pickle=False) as archive:
            found = list(archive)
            arrays = [np.asarray(archive[name]) for name in names if name in found]
    except (EOFError, OSError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} is corrupt or holds more than plain arrays: {error}") from error
    if len(arrays) < len(names):
        raise ValueError(
            f"{path} must hold the arrays {', '.join(names)}, but holds "
            f"{', '.join(found) or 'none'}"
        )
    return arrays


def _check_images(
    path: Path, name: str, images: NDArray[Any], shape: tuple[int, ...], lengths: list[int]
) -> None:
    if images.dtype != np.uint8 or images.shape[1:] != shape or len(images) not in lengths:
        raise ValueError(
            f"{name} in {path} must have the type uint8, the shape (N, "
            f"{', '.join(map(str, shape))}) and the length N = {' or '.join(map(str, lengths))}, "
            f"but has the type {images.dtype} and the shape {images.shape}"
        )
