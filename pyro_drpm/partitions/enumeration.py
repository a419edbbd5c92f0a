# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""All partitions of a few items."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["enumerate_partitions"]

_MAX_ITEMS = 11


def enumerate_partitions(n: int) -> Tensor:
    """List every partition of ``n`` items once.

    Labels are numbered in the order in which they appear, so that each partition has one list of
    labels; there are as many as Bell's number.

    Args:
        n: From 1 to 11, with 678,570 partitions.

    Returns:
        Shape ``(Bell(n), n)``, int64.

    Raises:
        ValueError: If there are more items or none.

    Example:
        >>> enumerate_partitions(3)
        tensor([[0, 0, 0],
                [0, 0, 1],
                [0, 1, 0],
                [0, 1, 1],
                [0, 1, 2]])
    """
    if not 1 <= n <= _MAX_ITEMS:
        raise ValueError(f"expected from 1 to {_MAX_ITEMS} items, but got {n}")
    partitions = torch.zeros(1, 1, dtype=torch.long)
    for _ in range(1, n):
        choices = partitions.amax(-1) + 2  # a subset that is there, or a new one
        last = torch.cat([torch.arange(number) for number in choices.tolist()])
        partitions = torch.cat([partitions.repeat_interleave(choices, 0), last.unsqueeze(-1)], -1)
    return partitions
