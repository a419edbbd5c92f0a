# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Sizes of the subsets over draws of a partition."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_drpm.partitions.labels import as_draws, as_tensor, canonical
from pyro_drpm.partitions.rows import subset_sizes
from pyro_drpm.types import Partitions

__all__ = ["size_distribution", "subset_sizes_of"]


def subset_sizes_of(draws: Partitions, *, sort: bool = False) -> Tensor:
    """Sizes of the subsets of each draw.

    Args:
        draws: Labels ``(draws, n)`` from 0, or one-hot matrices ``(draws, K, n)``.
        sort: Whether the names of the labels mean nothing, so that the sizes are put in
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
        >>> subset_sizes_of([[0, 1, 1], [2, 2, 2]], sort=True)
        tensor([[2, 1],
                [3, 0]])
    """
    values = as_tensor(draws)
    labels = as_draws(values)
    if sort:
        return subset_sizes(canonical(labels)).sort(-1, descending=True).values
    if labels.min() < 0:
        raise ValueError(f"expected labels from 0, but got {int(labels.min())}")
    sizes = subset_sizes(labels)
    empty = values.shape[-2] - sizes.shape[-1] if values.dim() == 3 else 0
    return F.pad(sizes, (0, empty))


def size_distribution(draws: Partitions, *, sort: bool = False) -> Tensor:
    """Share of the draws in which a subset has each size.

    Args:
        draws: As for :func:`subset_sizes_of`.
        sort: As for :func:`subset_sizes_of`; row 0 is then that of the largest subset.

    Returns:
        Shape ``(K, n + 1)``, rows that sum to 1.

    Raises:
        ValueError: As :func:`subset_sizes_of`.

    Example:
        >>> size_distribution([[0, 1], [0, 0]])
        tensor([[0.0000, 0.5000, 0.5000],
                [0.5000, 0.5000, 0.0000]])
    """
    sizes = subset_sizes_of(draws, sort=sort)
    num_subsets, n = sizes.shape[-1], int(sizes[0].sum())
    first_cell = torch.arange(num_subsets, device=sizes.device) * (n + 1)
    counts = (first_cell + sizes).flatten().bincount(minlength=num_subsets * (n + 1))
    return counts.view(num_subsets, n + 1).to(torch.get_default_dtype()) / len(sizes)
