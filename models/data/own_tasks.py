# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Images of one's own with a table of labels, one column a task."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.data.items import Items, encode_labels, fit_scaler
from models.data.multi_task import MultiTaskData
from models.data.own_files import load_items, read_table

__all__ = ["load_own_tasks"]

_TEST_EVERY = 5


@lru_cache(maxsize=1)
def load_own_tasks(
    images: Path, labels: Path, *, array: str | None = None, ids: str | None = None
) -> MultiTaskData:
    """Load images of one's own and their labels.

    Every fifth image, in the order of the images, is a test image. What was loaded last stays in
    memory for the methods that are trained one after the other: treat it as read-only.

    Args:
        images: A folder of images, or an ``.npz`` or ``.npy`` file, see
            :func:`~models.data.load_items`.
        labels: A table (``.csv``, ``.parquet``). Every column is a task; its values, numbers or
            text, are the classes.
        array: Name of the array of an ``.npz`` file, if it holds several.
        ids: Column of the table with the names of the images: paths relative to the folder, or row
            numbers of the array. Without it the rows are in the order of the images.

    Returns:
        The images with their labels.

    Raises:
        ValueError: If a file cannot be read or does not hold what it should, there is not one row
            for each image, a label is missing, or a task has but one class.
    """
    items = load_items(images, array=array)
    if not items.are_images:
        raise ValueError(f"{images} must hold images, but holds {items.values.shape[1]} features")
    scaler = fit_scaler(items.values)
    if not scaler.is_pixels:
        raise ValueError(f"pixels must not be negative, but one is {items.values.min()}")
    columns = _tasks(labels, items, ids)
    pixels = (scaler(items.values) * 255).round().byte()
    codes = torch.stack([code for code, _ in columns.values()], -1)
    is_test = torch.arange(len(pixels)) % _TEST_EVERY == _TEST_EVERY - 1
    train = pixels[~is_test].float() / 255
    return MultiTaskData(
        *(pixels[~is_test], codes[~is_test], pixels[is_test], codes[is_test]),
        task_names=tuple(columns),
        num_classes=tuple(number for _, number in columns.values()),
        mean=train.mean().item(),
        std=max(train.std().item(), 1e-3),
    )


def _tasks(path: Path, items: Items, ids: str | None) -> dict[str, tuple[Tensor, int]]:
    """Codes of the classes and their number, by the names of the tasks."""
    table = read_table(path)
    if ids is not None:
        if ids not in table:
            raise ValueError(f"{path} has no column {ids!r}, but {', '.join(map(str, table))}")
        table = table.assign(**{ids: table[ids].astype(str)})
        if table[ids].duplicated().any():
            twice = table[ids][table[ids].duplicated()].iloc[0]
            raise ValueError(f"column {ids!r} of {path} names {twice!r} twice")
        table = table.set_index(ids)
        if missing := [name for name in items.ids if name not in table.index]:
            raise ValueError(f"column {ids!r} of {path} does not name the image {missing[0]!r}")
        table = table.loc[list(items.ids)]
    if len(table) != len(items.values):
        raise ValueError(
            f"{path} must have a row for each of the {len(items.values)} images, but has "
            f"{len(table)}"
        )
    if len(table) < _TEST_EVERY:
        raise ValueError(f"there must be at least {_TEST_EVERY} images, but are {len(table)}")
    if table.shape[1] == 0:
        raise ValueError(f"{path} must have a column for each task, but has none")
    columns = {}
    for name in map(str, table):
        missing_rows = table[name].isna().to_numpy()
        if missing_rows.any():
            row = int(missing_rows.argmax())
            raise ValueError(f"column {name!r} of {path} has no label for image {items.ids[row]!r}")
        values = table[name].to_numpy()
        codes, classes = encode_labels(
            values if values.dtype.kind in "buif" else values.astype(str)
        )
        if not 1 < len(classes) <= np.ceil(len(table) / 2):
            raise ValueError(
                f"column {name!r} of {path} must have from 2 classes to one for every second "
                f"image, but has {len(classes)}: leave it out, or name it with --ids"
            )
        columns[name] = codes, len(classes)
    return columns
