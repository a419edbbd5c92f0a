# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Small datasets in the format of MNIST's files."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np

__all__ = ["idx_bytes", "write_images"]


def idx_bytes(array: np.ndarray) -> bytes:
    """What an unpacked file of MNIST has for an array of bytes."""
    header = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_images(directory: Path) -> None:
    """Write the four files of MNIST or Fashion-MNIST, with 64 images of noise each."""
    rng = np.random.default_rng(0)
    for split in ("train", "t10k"):
        images, labels = rng.integers(0, 256, (64, 28, 28)), rng.integers(0, 10, 64)
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            path = directory / f"{split}-{name}-ubyte.gz"
            path.write_bytes(gzip.compress(idx_bytes(array)))
