# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Where an increasing function passes a number."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["passing_point"]


def passing_point(
    is_below: Callable[[Tensor], Tensor], low: Tensor, width: Tensor, sections: int, rounds: int
) -> Tensor:
    """Searches intervals, a number of points at a time.

    Args:
        is_below: Tells of points ``(..., sections - 1)`` whether they lie below it. The results
            need only be broadcastable with the points, where several intervals move together.
        low: Lower ends of the intervals, shape ``(..., 1)``.
        width: Their widths, broadcastable with ``low``.
        sections: Number of parts that an interval is cut into; many take fewer operations, few
            fewer evaluations.
        rounds: How often that is done.

    Returns:
        The middles of the intervals that are left, in the shape of ``low``.

    Example:
        >>> low, width = torch.zeros(1), torch.full((1,), 2.0)
        >>> passing_point(lambda x: x**2 < 2, low, width, sections=16, rounds=6)
        tensor([1.4142])
    """
    part = torch.arange(1, sections, device=low.device).to(low) / sections
    for _ in range(rounds):
        below = is_below(low + width * part)
        width = width / sections
        low = low + below.sum(-1, keepdim=True) * width
    return low + width / 2
