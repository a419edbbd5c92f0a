# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""A small data set in the layout of CelebA's published one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ATTRIBUTES = "list_attr_celeba.txt"
PARTITION = "list_eval_partition.txt"
IMAGES = "img_align_celeba"
NAMES = [f"{number:06d}.jpg" for number in range(1, 9)]
# Unlike those of the published file, splits are not in one piece each.
SPLITS = [0, 2, 0, 1, 0, 0, 2, 0]
TRAIN = [row for row, split in enumerate(SPLITS) if split == 0]
TEST = [row for row, split in enumerate(SPLITS) if split == 2]


def attributes() -> NDArray[np.int64]:
    return np.random.default_rng(0).choice([-1, 1], (len(NAMES), 40))


def write_images(folder: Path) -> None:
    """Coloured blocks, so that the compression changes little."""
    folder.mkdir()
    rng = np.random.default_rng(1)
    for name in NAMES:
        blocks = rng.integers(0, 256, (11, 9, 3), dtype=np.uint8)
        pixels = blocks.repeat(20, axis=0).repeat(20, axis=1)[:218, :178]
        Image.fromarray(pixels).save(folder / name, quality=95)


def write_celeba(directory: Path) -> None:
    """Write attributes, splits and images into a directory that is there."""
    write_images(directory / IMAGES)
    rows = [
        f"{name} {' '.join(f'{value:2d}' for value in values)}"
        for name, values in zip(NAMES, attributes(), strict=True)
    ]
    header = [str(len(NAMES)), " ".join(f"Attribute_{number}" for number in range(40)) + " "]
    (directory / ATTRIBUTES).write_text("\n".join(header + rows) + "\n")
    lines = [f"{name} {split}\n" for name, split in zip(NAMES, SPLITS, strict=True)]
    (directory / PARTITION).write_text("".join(lines))
