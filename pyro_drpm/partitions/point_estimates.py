# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The partition of least expected loss, of any sizes or of those that are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, get_args

import torch
from torch import Tensor
from tqdm import tqdm

from pyro_drpm.partitions.bounded_search import BoundedSearch
from pyro_drpm.partitions.costs import costs_of
from pyro_drpm.partitions.labels import as_draws, canonical
from pyro_drpm.partitions.losses import Loss, check_loss, expected_loss
from pyro_drpm.partitions.search import Search
from pyro_drpm.partitions.size_bounds import SizeBounds
from pyro_drpm.types import Partitions

__all__ = ["PointEstimate", "point_estimate"]


class PointEstimate(NamedTuple):
    """Result of :func:`point_estimate`.

    Attributes:
        labels: The partition, numbered from 0 in the order of appearance, shape ``(n,)``.
        expected_loss: Its mean loss over the draws.
    """

    labels: Tensor
    expected_loss: float


def point_estimate(
    draws: Partitions,
    loss: Loss = "vi",
    a: float = 1.0,
    *,
    max_subsets: int | None = None,
    sizes: Sequence[int] | Tensor | None = None,
    min_size: int | None = None,
    max_size: int | None = None,
    num_starts: int = 16,
    max_sweeps: int = 100,
    generator: torch.Generator | None = None,
    progress: bool = False,
) -> PointEstimate:
    """Search for the partition of least expected loss.

    Args:
        draws: Labels ``(draws, n)`` or one-hot matrices ``(draws, K, n)``.
        loss: One of :func:`~pyro_drpm.partitions.expected_loss`.
        a: Weight of subsets that the estimate divides, in (0, 2).
        max_subsets: Largest number of subsets of the estimate; by default there is no limit.
        sizes: What the subsets' sizes are to be, in any order, if they are known; they add up to
            ``n``.
        min_size: Fewest items of a subset.
        max_size: Most items of a subset.
        num_starts: Number of starts, which are searched from at once.
        max_sweeps: Sweeps after which a start is given up, if it still changes.
        generator: Source of the random orders, on the device of the draws; torch's own by default.
        progress: Whether to show a progress bar of the sweeps.

    Returns:
        The best partition that was found. Within sizes, items move where these allow it, and swap
        their places.

    Raises:
        ValueError: As :func:`~pyro_drpm.partitions.expected_loss`, or if a number is not positive,
            or no partition has such sizes.

    Example:
        >>> draws = [[0, 0, 1, 1], [5, 5, 2, 2], [1, 1, 1, 3]]
        >>> point_estimate(draws, loss="vi").labels
        tensor([0, 0, 1, 1])
        >>> point_estimate(draws, loss="vi", sizes=[3, 1]).labels
        tensor([0, 0, 0, 1])

    References:
        Dahl, D. B., Johnson, D. J., Müller, P.: Search algorithms and loss functions for Bayesian
        clustering. Journal of Computational and Graphical Statistics 31(4), 2022.
    """
    check_loss(loss, a, get_args(Loss))
    limits = {
        "max_subsets": max_subsets,
        "min_size": min_size,
        "max_size": max_size,
        "num_starts": num_starts,
        "max_sweeps": max_sweeps,
    }
    for name, value in limits.items():
        if value is not None and value < 1:
            raise ValueError(f"expected {name} to be positive, but got {value}")
    drawn = canonical(as_draws(draws))
    costs = costs_of(drawn, loss, a)
    bounds = SizeBounds.of(drawn.shape[-1], sizes, min_size, max_size, max_subsets)
    search: Search | BoundedSearch = (
        Search(costs, num_starts, max_subsets, generator)
        if bounds is None
        else BoundedSearch(costs, drawn, bounds, num_starts, generator)
    )
    for _ in tqdm(range(max_sweeps), "sweeps", disable=not progress):
        if not search.sweep():
            break
    losses = expected_loss(drawn, search.labels, loss, a)
    best = int(losses.argmin())
    return PointEstimate(canonical(search.labels[best]), float(losses[best]))
