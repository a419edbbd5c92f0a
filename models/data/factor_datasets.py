# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Images with known generative factors, by the name of the dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import torch

from models.data.factor_files import load_dsprites, load_mpi3d
from models.data.factors import FactorImages
from models.data.files import find_file
from models.data.scene import SceneImages

__all__ = ["FactorDatasetName", "load_factor_images"]

FactorDatasetName = Literal["scene", "mpi3d", "dsprites"]

_FILES = {
    "mpi3d": "mpi3d_toy.npz",
    "dsprites": "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz",
}


def load_factor_images(
    name: FactorDatasetName,
    data_dir: Path | None = None,
    size: int = 64,
    device: torch.device | str = "cpu",
) -> FactorImages:
    """Load a dataset of images with known generative factors.

    Args:
        name: ``"scene"`` (rendered when it is asked for), ``"mpi3d"`` or ``"dsprites"``.
        data_dir: Directory with the published file, ``mpi3d_toy.npz`` or
            ``dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz``, or with a subdirectory of the
            dataset's name that holds it. The scene needs none.
        size: Height and width of the scene's images. Those of files have 64 x 64 pixels.
        device: Where images are made.

    Returns:
        The dataset.

    Raises:
        ValueError: If the name is unknown, ``data_dir`` is needed but not given, or the file is
            missing, corrupt or of another layout.

    Example:
        >>> load_factor_images("scene", size=32).image_shape
        (3, 32, 32)
    """
    if name == "scene":
        return SceneImages(size, device)
    if name not in _FILES:
        raise ValueError(f"dataset must be one of {get_args(FactorDatasetName)}, but is {name!r}")
    if data_dir is None:
        raise ValueError(
            f"{name} is not downloaded: get {_FILES[name]} by hand and pass its directory as "
            "data_dir"
        )
    path = find_file(name, data_dir, _FILES[name])
    return load_mpi3d(path, device) if name == "mpi3d" else load_dsprites(path, device)
