# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Partition matrices as labels, by element and by rank."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["all_partitions", "matrix_of", "subset_of_each", "unsort"]


def subset_of_each(Y: Tensor) -> Tensor:
    """The subset of each element.

    A sum over ``-K, ..., -1``, which is many times faster than ``argmax`` across rows, and no
    matrix product, whose precision autocast and other settings of torch lower.

    Args:
        Y: One-hot columns, up to round-off, shape ``(*batch, K, n)``; or zeros for elements that
            are absent.

    Returns:
        Integers, shape ``(*batch, n)``; ``K`` for elements that are absent.
    """
    num_subsets = Y.shape[-2]
    numbers = torch.arange(-num_subsets, 0, dtype=Y.dtype, device=Y.device)
    return (numbers.unsqueeze(-1) * Y.detach()).sum(-2).round().long() + num_subsets


def matrix_of(subset: Tensor, num_subsets: int, dtype: torch.dtype) -> Tensor:
    """The partition matrix, from the subset of each element.

    Not in place, which vmap allows for some tensors only.

    Args:
        subset: Integers, shape ``(*batch, n)``.
        num_subsets: Number ``K`` of rows.
        dtype: Of the result.

    Returns:
        Entries 0 and 1, shape ``(*batch, K, n)``.
    """
    rows = torch.arange(num_subsets, device=subset.device).unsqueeze(-1)
    return (subset.unsqueeze(-2) == rows).to(dtype)


def unsort(values: Tensor, order: Tensor) -> Tensor:
    """From the order of ranks to that of elements, along the last dimension.

    Args:
        values: Shape ``(*batch, n)`` or ``(*batch, K, n)``.
        order: The element of each rank, shape ``(*batch, n)``.
    """
    if values.dim() > order.dim():
        order = order.unsqueeze(-2)
    return values.scatter(-1, order.expand_as(values), values)


def all_partitions(num_subsets: int, n: int, device: torch.device) -> Tensor:
    """Matrices of all partitions, shape ``(K ** n, K, n)``; the last element changes fastest."""
    subsets = list(itertools.product(range(num_subsets), repeat=n))
    return F.one_hot(torch.tensor(subsets, device=device), num_subsets).mT
