# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Images of one's own with a table of labels, one column a task."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from models.data.items import TEST_EVERY, Items, as_pixels, encode_labels, held_out
from models.data.multi_task import MultiTaskData
from models.data.own_files import load_items, read_table

__all__ = ["load_own_tasks"]


def load_own_tasks(
    images: Path, labels: Path, *, array: str | None = None, ids: str | None = None
) -> MultiTaskData:
    """Load images of one's own and their labels.

    Every fifth image, in the order of the images, is a test image.

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
    columns = _tasks(_rows_of_items(labels, items, ids), labels, items.ids)
    pixels = (as_pixels(items.values) * 255).round().byte()
    codes = torch.stack([code for code, _ in columns.values()], -1)
    is_test = held_out(len(pixels))
    train = pixels[~is_test].float() / 255
    return MultiTaskData(
        *(pixels[~is_test], codes[~is_test], pixels[is_test], codes[is_test]),
        task_names=tuple(columns),
        num_classes=tuple(number for _, number in columns.values()),
        mean=train.mean().item(),
        std=max(train.std().item(), 1e-3),
    )


def _rows_of_items(path: Path, items: Items, ids: str | None) -> pd.DataFrame:
    """The table with a row for each image, in their order."""
    table = read_table(path)
    if ids is not None:
        if ids not in table:
            raise ValueError(f"{path} has no column {ids!r}, but {', '.join(map(str, table))}")
        table = table.astype({ids: str}).set_index(ids)
        if table.index.has_duplicates:
            twice = table.index[table.index.duplicated()][0]
            raise ValueError(f"column {ids!r} of {path} names {twice!r} twice")
        if missing := [name for name in items.ids if name not in table.index]:
            raise ValueError(f"column {ids!r} of {path} does not name the image {missing[0]!r}")
        table = table.loc[list(items.ids)]
    if len(table) != len(items.values):
        raise ValueError(
            f"{path} must have a row for each of the {len(items.values)} images, but has "
            f"{len(table)}"
        )
    if len(table) < TEST_EVERY:
        raise ValueError(f"there must be at least {TEST_EVERY} images, but are {len(table)}")
    return table


def _tasks(table: pd.DataFrame, path: Path, ids: Sequence[str]) -> dict[str, tuple[Tensor, int]]:
    """Codes of the classes and their number, by the names of the tasks."""
    if table.columns.empty:
        raise ValueError(f"{path} must have a column for each task, but has none")
    columns = {}
    for name in map(str, table):
        codes, classes = encode_labels(table[name], f"labels {name!r} of {path}", ids)
        if not 1 < len(classes) <= (len(table) + 1) // 2:
            raise ValueError(
                f"column {name!r} of {path} must have from 2 classes to one for every second "
                f"image, but has {len(classes)}: leave it out, or name it with --ids"
            )
        columns[name] = codes, len(classes)
    return columns
