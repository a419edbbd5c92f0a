# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Files of one's own: arrays, tables and folders of images."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from models.data.items import Items, as_items, encode_labels

__all__ = ["choose_array", "load_items", "read_arrays", "read_images", "read_table"]

_IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg"}
_MODES = {"1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"}  # of at most eight bits a channel


def load_items(
    path: Path, *, array: str | None = None, labels: str | None = None, ids: str | None = None
) -> Items:
    """Load items of one's own.

    =======================  =====================================================================
    File                     Items
    =======================  =====================================================================
    ``.npy``, ``.npz``       images ``(N, H, W)`` or ``(N, H, W, C)``, or features ``(N, D)``
    ``.csv``, ``.parquet``   features: one row an item, one column of numbers a feature
    folder                   images, those of its subfolders among them, all of the same size
    =======================  =====================================================================

    Args:
        path: The file or the folder.
        array: Name of the array in an ``.npz`` file; not needed where there is one alone beside
            labels and ids.
        labels: Column of a table or array of an ``.npz`` file that has the classes; for a folder,
            ``"folder"`` takes the names of the subfolders.
        ids: Column or array with the names of the items. Without it they are numbered from 0; in a
            folder they have the names of their files.

    Returns:
        The items.

    Raises:
        ValueError: If the file cannot be read, or does not hold what it should: numbers alone, none
            missing or infinite, images of one size, as many labels as items, at least two items.
    """
    if path.is_dir():
        items = _read_folder(path, labels)
    elif not path.exists():
        raise ValueError(f"{path} does not exist")
    elif path.suffix not in _READERS:
        raise ValueError(
            f"{path} must be a folder of images or a file {', '.join(_READERS)}, but ends with "
            f"{path.suffix!r}"
        )
    else:
        items = _READERS[path.suffix](path, array, labels, ids)
    if len(items.values) < 2:
        raise ValueError(f"{path} must hold at least two items, but holds {len(items.values)}")
    return items


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read all arrays of an ``.npz`` file, or that of an ``.npy`` file by the name ``values``.

    Raises:
        ValueError: If the file is missing or corrupt, or holds anything else than arrays.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"values": loaded}
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except (EOFError, OSError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path} is corrupt or holds more than plain arrays: {reason}") from error


def read_images(folder: Path) -> tuple[NDArray[np.uint8], list[Path]]:
    """Read all images of a folder and its subfolders.

    Args:
        folder: The folder; files that are no ``.png`` or ``.jpg`` are left aside.

    Returns:
        The images, shape ``(N, C, H, W)``, grey if all are, in red, green and blue otherwise; and
        their paths relative to the folder, in the order of their names.

    Raises:
        ValueError: If there is no image, one cannot be read, or one has another size.
    """
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in _IMAGE_SUFFIXES)
    if not paths:
        raise ValueError(f"{folder} must hold images (.png, .jpg), but holds none")
    images = [_open_image(path) for path in paths]
    mode = "L" if all(image.mode in {"1", "L"} for image in images) else "RGB"
    pixels = [np.asarray(image.convert(mode)) for image in images]
    for path, image in zip(paths, images, strict=True):
        if image.size != images[0].size:
            raise ValueError(
                f"all images must have one size, but {paths[0]} has {_size(images[0])} pixels and "
                f"{path} has {_size(image)}"
            )
    stacked = np.stack(pixels)
    channels_first = stacked[:, None] if mode == "L" else np.moveaxis(stacked, -1, 1)
    return np.ascontiguousarray(channels_first), [path.relative_to(folder) for path in paths]


def _open_image(path: Path) -> Image.Image:
    try:
        with Image.open(path) as opened:
            opened.load()
            image = opened.copy()
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"{path} is no image or damaged: {error}") from error
    if image.mode not in _MODES:  # which Pillow would cut off at 255
        raise ValueError(
            f"{path} must have at most eight bits a colour, but has the mode {image.mode}: give "
            "an array (.npy) of such images"
        )
    return image


def _size(image: Image.Image) -> str:
    return f"{image.width} x {image.height}"


def _read_folder(folder: Path, labels: str | None) -> Items:
    images, paths = read_images(folder)
    ids = tuple(path.as_posix() for path in paths)
    if labels is None:
        return Items(images, ids)
    if labels != "folder" or any(len(path.parts) == 1 for path in paths):
        raise ValueError(
            f"labels of a folder are the names of the subfolders that its images are in: give "
            f"'folder', not {labels!r}, and put every image of {folder} into one"
        )
    folders = np.array([path.parts[0] for path in paths])
    return Items(images, ids, (), *encode_labels(folders, "subfolders", ids))


def _read_arrays_of_items(
    path: Path, array: str | None, labels: str | None, ids: str | None
) -> Items:
    arrays = read_arrays(path)
    name = choose_array(path, arrays, array, labels, ids)
    values = as_items(arrays[name], f"array {name!r} of {path}")
    names = _names(path, len(values), ids, arrays.get(ids or ""))
    if labels is None:
        return Items(values, names)
    _check_length(_labels(path, labels), arrays[labels], len(values))
    return Items(values, names, (), *encode_labels(arrays[labels], _labels(path, labels), names))


def choose_array(
    path: Path, arrays: Mapping[str, NDArray[Any]], array: str | None, *others: str | None
) -> str:
    """Give the name of the array that holds the items.

    Args:
        path: The file.
        arrays: Its arrays.
        array: The name, if it was given.
        others: Names of arrays that hold something else; none where there is none.

    Raises:
        ValueError: If an array of one of the names is missing, or the name was not given and there
            is not one array alone beside the others.
    """
    for name in (array, *others):
        if name is not None and name not in arrays:
            raise ValueError(f"{path} has no array {name!r}, but {', '.join(arrays) or 'none'}")
    candidates = [name for name in arrays if name not in others]
    if array is None and len(candidates) != 1:
        raise ValueError(
            f"{path} must hold one array of items, but holds {', '.join(candidates) or 'none'}: "
            "name it with --array"
        )
    return array or candidates[0]


def _labels(path: Path, column: str) -> str:
    return f"labels {column!r} of {path}"


def _check_length(what: str, array: NDArray[Any], number: int) -> None:
    if array.shape != (number,):
        raise ValueError(
            f"{what} must have one entry for each of the {number} items, but have the shape "
            f"{array.shape}"
        )


def _names(
    path: Path, number: int, column: str | None, names: NDArray[Any] | None
) -> tuple[str, ...]:
    if names is None:
        return tuple(map(str, range(number)))
    _check_length(f"ids {column!r} of {path}", names, number)
    return tuple(map(str, names))


def _read_table(path: Path, array: str | None, labels: str | None, ids: str | None) -> Items:
    if array is not None:
        raise ValueError(f"array is for .npz files, but is {array!r} and the data are {path}")
    table = read_table(path)
    columns = [str(column) for column in table]
    for column in (labels, ids):
        if column is not None and column not in columns:
            raise ValueError(f"{path} has no column {column!r}, but {', '.join(columns)}")
    features = tuple(column for column in columns if column not in {labels, ids})
    if not features or table.empty:
        raise ValueError(f"{path} must hold rows and columns of numbers, but has none")
    for feature in features:
        _check_column(path, feature, table[feature])
    names = _names(path, len(table), ids, None if ids is None else table[ids].to_numpy())
    values = table[list(features)].to_numpy(dtype=np.float64)
    if labels is None:
        return Items(values, names, features)
    return Items(
        values, names, features, *encode_labels(table[labels], _labels(path, labels), names)
    )


def read_table(path: Path) -> pd.DataFrame:
    """Read a table (``.csv``, ``.parquet``), whose columns get their names as text.

    Raises:
        ValueError: If it cannot be read.
    """
    if path.suffix not in {".csv", ".parquet"}:
        raise ValueError(f"{path} must be a table (.csv, .parquet), but ends with {path.suffix!r}")
    try:
        table = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    except (ValueError, OSError, ImportError) as error:  # parser errors are ValueErrors
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path} cannot be read as a table: {reason}") from error
    return table.rename(columns=str)


def _check_column(path: Path, column: str, values: pd.Series[Any]) -> None:
    if not pd.api.types.is_numeric_dtype(values):
        text = pd.to_numeric(values, errors="coerce").isna()
        row = int(text.to_numpy().argmax())
        raise ValueError(
            f"column {column!r} of {path} must hold numbers, but has {values.iloc[row]!r} in row "
            f"{row}: leave it out, or name it with --labels or --ids"
        )
    numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
    if not np.isfinite(numbers).all():
        row = int((~np.isfinite(numbers)).argmax())
        what = "no value" if np.isnan(numbers[row]) else str(numbers[row])
        raise ValueError(
            f"column {column!r} of {path} must hold a finite number in every row, but has {what} "
            f"in row {row}"
        )


_READERS: dict[str, Callable[[Path, str | None, str | None, str | None], Items]] = {
    ".npy": _read_arrays_of_items,
    ".npz": _read_arrays_of_items,
    ".csv": _read_table,
    ".parquet": _read_table,
}
