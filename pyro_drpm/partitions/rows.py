# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The subsets of many partitions as the rows of one table.

Every partition has as many rows as it has subsets, so that one with very many costs no more than
its own. All functions take canonical labels.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = ["count_subsets", "indicator_rows", "number_rows", "subset_sizes"]

# Entries of indicators that are held at a time.
_CHUNK = 1 << 24


def count_subsets(labels: Tensor) -> Tensor:
    """Number of subsets of each partition, for labels ``(*batch, n)``."""
    return labels.amax(-1) + 1


def number_rows(labels: Tensor) -> Tensor:
    """Give the row of the subset that holds each item.

    Args:
        labels: Shape ``(draws, n)``.

    Returns:
        Shape ``(draws, n)``: the rows of a draw follow those of the draws before it.

    Example:
        >>> number_rows(torch.tensor([[0, 1, 0], [0, 0, 0], [0, 1, 2]]))
        tensor([[0, 1, 0],
                [2, 2, 2],
                [3, 4, 5]])
    """
    number = count_subsets(labels)
    return labels + (number.cumsum(0) - number).unsqueeze(-1)


def subset_sizes(labels: Tensor) -> Tensor:
    """Sizes of the subsets, for labels ``(*batch, n)``; shape ``(*batch, S)``, filled with 0."""
    sizes = labels.new_zeros(*labels.shape[:-1], int(labels.max()) + 1)
    return sizes.scatter_add_(-1, labels, torch.ones_like(labels))


def indicator_rows(labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Give which items lie in each subset of each draw, in chunks that fit into memory.

    Args:
        labels: Shape ``(draws, n)``.

    Yields:
        For the next draws the rows of their items, as :func:`number_rows` gives them, and the
        indicators, shape ``(rows, n)``, entries 0 and 1, float32.
    """
    n = labels.shape[-1]
    chunk = (count_subsets(labels).cumsum(0) * n).div(_CHUNK, rounding_mode="floor")
    for part in labels.split(chunk.unique_consecutive(return_counts=True)[1].tolist()):
        rows = number_rows(part)
        members = torch.zeros(int(rows.max()) + 1, n, device=labels.device)
        yield rows, members.scatter_(0, rows, 1.0)
