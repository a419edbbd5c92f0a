# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Real data, written to files as a user would have them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from sklearn.datasets import load_digits, load_iris, load_wine

from models.data import load_factor_images

__all__ = ["digit_folder", "iris_table", "save_table", "scene_images", "wine_table"]


def iris_table() -> pd.DataFrame:
    """Four features of 150 flowers and the name of the species."""
    data = load_iris(as_frame=True)
    species = data.target_names[data.target]
    return data.data.assign(species=species)


def wine_table() -> pd.DataFrame:
    """Thirteen features of 178 wines, their cultivar, and a name for each."""
    data = load_wine(as_frame=True)
    names = [f"wine {i}" for i in range(len(data.data))]
    return data.data.assign(cultivar=data.target, name=names)


def save_table(table: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".csv":
        table.to_csv(path, index=False)
    else:
        table.to_parquet(path)
    return path


def digit_folder(folder: Path, number: int = 60) -> Path:
    """The first of scikit-learn's digits as PNG files, in a subfolder for each class."""
    digits = load_digits()
    for i in range(number):
        path = folder / str(digits.target[i]) / f"{i:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = (digits.images[i] * 255 / 16).astype(np.uint8)
        Image.fromarray(pixels).save(path)
    return folder


def scene_images(number: int = 40, size: int = 16) -> np.ndarray:
    """Coloured images of the renderer, bytes, shape ``(N, H, W, 3)``."""
    data = load_factor_images("scene", size=size)
    torch.manual_seed(0)
    factors = torch.stack([torch.randint(n, (number,)) for n in data.factor_sizes], 1)
    images = data.images(factors).movedim(1, -1)
    return (images * 255).round().byte().numpy()
