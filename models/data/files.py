# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Where the files of a dataset are."""

from __future__ import annotations

from pathlib import Path

__all__ = ["find_file"]


def find_file(dataset: str, data_dir: Path, name: str, *other_names: str) -> Path:
    """Find a file of a dataset.

    Args:
        dataset: Name of the dataset.
        data_dir: Directory with its files, or with a subdirectory of the dataset's name that holds
            them.
        name: Name of the file.
        other_names: Names that it may have instead.

    Returns:
        Path of the first of these names that exists.

    Raises:
        ValueError: If the directory or the file does not exist.
    """
    if not data_dir.is_dir():
        raise ValueError(f"data directory {data_dir} does not exist or is no directory")
    directory = data_dir / dataset if (data_dir / dataset).is_dir() else data_dir
    for candidate in (name, *other_names):
        if (directory / candidate).exists():
            return directory / candidate
    alternatives = "".join(f" (or {other})" for other in other_names)
    raise ValueError(f"{directory / name}{alternatives} is missing: {dataset} needs it")
