# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Images with the labels of several tasks, by the name of the dataset."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args

from models.data.celeba import load_celeba
from models.data.images import DatasetName, load_images
from models.data.multi_digits import make_multi_digits
from models.data.multi_task import MultiTaskData

__all__ = ["MultiTaskDatasetName", "load_multi_task"]

MultiTaskDatasetName = Literal["multi-digits", "multi-mnist", "celeba"]

_DIGITS: dict[str, DatasetName] = {"multi-digits": "digits", "multi-mnist": "mnist"}


def load_multi_task(
    name: MultiTaskDatasetName,
    data_dir: Path | None = None,
    *,
    noise_ratio: float = 0.0,
    seed: int = 0,
    num_tasks: int = 10,
    cache_dir: Path | None = None,
) -> MultiTaskData:
    """Load a dataset of images with the labels of several tasks.

    The pairs of digits that were made last stay in memory (55 MB of MNIST's) until others are asked
    for, whatever becomes of the files, so that methods trained one after the other share them:
    treat them as read-only. They are not kept on disk: one core makes those of MNIST in three
    seconds, much less than a training takes, and the same ones in every process, while a file for
    each noise ratio and seed of a figure would take gigabytes.

    Args:
        name: ``"multi-digits"`` (pairs of scikit-learn's digits), ``"multi-mnist"`` (of MNIST's) or
            ``"celeba"``.
        data_dir: Directory with the files of MNIST (which is downloaded without it) or CelebA (for
            which it is needed), or with a subdirectory ``mnist`` or ``celeba`` that holds them.
        noise_ratio: Probability that a pixel of the right digit of a pair is cleared.
        seed: Of the pairs of digits and the noise.
        num_tasks: Number of attributes of CelebA. Digits have two tasks.
        cache_dir: Where the decoded images of CelebA are kept, next to its files if not given.

    Returns:
        The dataset.

    Raises:
        ValueError: If the name is unknown, a file is missing or faulty, or a number is out of its
            range.

    Example:
        >>> data = load_multi_task("multi-digits", noise_ratio=0.3)
        >>> data.task_names, data.num_classes
        (('left', 'right'), (10, 10))
    """
    if name in _DIGITS:
        return _multi_digits(_DIGITS[name], data_dir, noise_ratio, seed)
    if name != "celeba":
        raise ValueError(
            f"dataset must be one of {get_args(MultiTaskDatasetName)}, but is {name!r}"
        )
    if data_dir is None:
        raise ValueError(
            "celeba is not downloaded: get list_attr_celeba.txt, list_eval_partition.txt and the "
            "directory img_align_celeba by hand and pass the directory of the three as data_dir"
        )
    return load_celeba(data_dir, num_tasks, cache_dir)


@lru_cache(maxsize=1)
def _multi_digits(
    source: DatasetName, data_dir: Path | None, noise_ratio: float, seed: int
) -> MultiTaskData:
    return make_multi_digits(load_images(source, data_dir), noise_ratio, seed)
