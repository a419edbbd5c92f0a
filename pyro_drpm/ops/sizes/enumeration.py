# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""All sizes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

__all__ = ["compositions"]


def compositions(total: int, least: Sequence[int], most: Sequence[int]) -> Iterator[list[int]]:
    """Counts within bounds that add up to a total, the first counts changing slowest.

    Args:
        total: Not negative.
        least: Of each count.
        most: Likewise.

    Example:
        >>> list(compositions(3, [0, 1], [3, 2]))
        [[1, 2], [2, 1]]
    """
    if len(least) == 1:
        if least[0] <= total <= most[0]:
            yield [total]
        return
    for first in range(least[0], min(most[0], total) + 1):
        for later in compositions(total - first, least[1:], most[1:]):
            yield [first, *later]
