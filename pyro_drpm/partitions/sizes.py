# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Sizes of the subsets over draws of a partition."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_drpm.partitions.labels import Partitions, as_draws, as_tensor, compact

__all__ = ["size_distribution", "subset_sizes_of"]


def subset_sizes_of(draws: Partitions, *, ordered: bool = False) -> Tensor:
    """Sizes of the subsets of each draw.

    Args:
        draws: Labels ``(draws, n)`` from 0, or one-hot matrices ``(draws, K, n)``.
        ordered: Whether the names of the labels mean nothing, so that the sizes are put in
            descending order; otherwise entry ``k`` is the size of subset ``k``.

    Returns:
        Integers, shape ``(draws, K)``; empty subsets count as 0.

    Raises:
        ValueError: As :func:`~pyro_drpm.partitions.as_draws`, or if labels that have a meaning are
            negative.

    Example:
        >>> subset_sizes_of([[0, 1, 1], [2, 2, 2]])
        tensor([[1, 2, 0],
                [0, 0, 3]])
        >>> subset_sizes_of([[0, 1, 1], [2, 2, 2]], ordered=True)
        tensor([[2, 1],
                [3, 0]])
    """
    values = as_tensor(draws)
    labels = as_draws(values)
    if ordered:
        return F.one_hot(compact(labels)).sum(-2).sort(-1, descending=True).values
    if labels.min() < 0:
        raise ValueError(f"expected labels from 0, but got {int(labels.min())}")
    num_subsets = values.shape[-2] if values.dim() == 3 else -1
    return F.one_hot(labels, num_subsets).sum(-2)


def size_distribution(draws: Partitions, *, ordered: bool = False) -> Tensor:
    """Share of the draws in which a subset has each size.

    Args:
        draws: As for :func:`subset_sizes_of`.
        ordered: As for :func:`subset_sizes_of`; row 0 is then that of the largest subset.

    Returns:
        Shape ``(K, n + 1)``, rows that sum to 1.

    Raises:
        ValueError: As :func:`subset_sizes_of`.

    Example:
        >>> size_distribution([[0, 1], [0, 0]])
        tensor([[0.0000, 0.5000, 0.5000],
                [0.5000, 0.5000, 0.0000]])
    """
    sizes = subset_sizes_of(draws, ordered=ordered)
    n = int(sizes[0].sum())
    return F.one_hot(sizes, n + 1).to(torch.get_default_dtype()).mean(0)
