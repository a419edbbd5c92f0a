# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Agreement between true classes and predicted clusters or classes.

Labels are integers of shape ``(n,)``, tensors or what becomes an array, or the rows of a one-hot
matrix ``(K, n)``. The work is done by scikit-learn and SciPy, which come with the extra
``pyro-drpm[metrics]``; importing this module needs neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyro_drpm.optional import require
from pyro_drpm.partitions.labels import Partitions, as_partition

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "adjusted_balanced_accuracy",
    "adjusted_rand_index",
    "cluster_accuracy",
    "normalized_mutual_information",
]


def cluster_accuracy(labels_true: Partitions, labels_pred: Partitions) -> float:
    r"""Share of elements in agreement under the best one-to-one matching of clusters to classes.

    .. math:: \mathrm{ACC} = \max_m n^{-1} \sum_{i=1}^n 1(c_i = m(\hat c_i))

    The best matching :math:`m` is an assignment problem on the contingency table (Kuhn, 1955).
    Numbers of classes and clusters may differ; a cluster without a partner counts as wrong.

    Args:
        labels_true: Classes, shape ``(n,)``.
        labels_pred: Clusters under any names, shape ``(n,)``.

    Returns:
        A share in ``(0, 1]``.

    Raises:
        ValueError: If labels are empty, neither integers nor one-hot, or differ in length.
        ImportError: If scikit-learn or SciPy is missing.

    Example:
        >>> cluster_accuracy([0, 0, 1, 1, 2], [2, 2, 0, 0, 0])
        0.8
    """
    labels_true, labels_pred = _label_pair(labels_true, labels_pred)
    table = require("sklearn.metrics.cluster", "metrics").contingency_matrix(
        labels_true, labels_pred
    )
    matching = require("scipy.optimize", "metrics").linear_sum_assignment(table, maximize=True)
    return float(table[matching].sum() / table.sum())


def normalized_mutual_information(labels_true: Partitions, labels_pred: Partitions) -> float:
    r"""Mutual information divided by the mean of both entropies, in ``[0, 1]``.

    .. math:: \mathrm{NMI} = 2 I(c, \hat c) / (H(c) + H(\hat c))

    Args:
        labels_true: Classes, shape ``(n,)``.
        labels_pred: Clusters under any names, shape ``(n,)``.

    Returns:
        1 for the same partition, 0 for independent ones.

    Raises:
        ValueError: If labels are empty, neither integers nor one-hot, or differ in length.
        ImportError: If scikit-learn is missing.

    Example:
        >>> normalized_mutual_information([0, 0, 1, 1], [1, 1, 0, 0])
        1.0
    """
    score = require("sklearn.metrics", "metrics").normalized_mutual_info_score
    return float(score(*_label_pair(labels_true, labels_pred)))


def adjusted_rand_index(labels_true: Partitions, labels_pred: Partitions) -> float:
    """Share of pairs on which both partitions agree, corrected for chance (Hubert & Arabie, 1985).

    Args:
        labels_true: Classes, shape ``(n,)``.
        labels_pred: Clusters under any names, shape ``(n,)``.

    Returns:
        1 for the same partition, 0 on average for random ones of the same sizes.

    Raises:
        ValueError: If labels are empty, neither integers nor one-hot, or differ in length.
        ImportError: If scikit-learn is missing.

    Example:
        >>> adjusted_rand_index([0, 0, 1, 1], [1, 1, 0, 0])
        1.0
    """
    score = require("sklearn.metrics", "metrics").adjusted_rand_score
    return float(score(*_label_pair(labels_true, labels_pred)))


def adjusted_balanced_accuracy(labels_true: Partitions, labels_pred: Partitions) -> float:
    r"""Mean recall of the classes, rescaled so that guessing gives 0 and perfection 1.

    .. math:: (\mathrm{BA} - 1/C) / (1 - 1/C)

    with :math:`\mathrm{BA}` the mean recall over the :math:`C` classes in ``labels_true``. A
    predicted class that is not among them counts as wrong.

    Args:
        labels_true: Classes, shape ``(n,)``.
        labels_pred: Predicted classes under the same names, shape ``(n,)``.

    Returns:
        A number in ``[-1 / (C - 1), 1]``.

    Raises:
        ValueError: If labels are empty, neither integers nor one-hot, or differ in length,
            or ``labels_true`` has a single class.
        ImportError: If scikit-learn is missing.

    Example:
        >>> adjusted_balanced_accuracy([0, 0, 0, 1], [0, 0, 0, 0])
        0.0
    """
    labels_true, labels_pred = _label_pair(labels_true, labels_pred)
    classes = np.unique(labels_true)
    if len(classes) < 2:
        raise ValueError(
            f"labels_true must hold at least two classes, but all {len(labels_true)} labels are "
            f"{classes[0]}"
        )
    recall_score = require("sklearn.metrics", "metrics").recall_score
    # Naming the classes keeps predictions of unknown classes from being averaged, or warned of.
    recall = recall_score(labels_true, labels_pred, labels=classes, average="macro")
    chance = 1 / len(classes)
    return float((recall - chance) / (1 - chance))


def _label_pair(
    labels_true: Partitions, labels_pred: Partitions
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    true, pred = _labels("labels_true", labels_true), _labels("labels_pred", labels_pred)
    if len(true) != len(pred):
        raise ValueError(
            "labels_true and labels_pred must have the same length, but they have "
            f"{len(true)} and {len(pred)}"
        )
    return true, pred


def _labels(name: str, labels: Partitions) -> NDArray[np.int64]:
    try:
        return as_partition(labels).cpu().numpy()
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
