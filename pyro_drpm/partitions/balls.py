# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Partitions around an estimate that hold most of the posterior."""

from __future__ import annotations

import math
from typing import NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_drpm.partitions.labels import as_draws, as_partition, canonical
from pyro_drpm.partitions.losses import check_loss, partition_loss
from pyro_drpm.partitions.rows import count_subsets
from pyro_drpm.types import PairLoss, Partitions

__all__ = ["CredibleBall", "credible_ball"]

# Distances that differ by less are equal.
_SMALL = 1e-12


class CredibleBall(NamedTuple):
    """Result of :func:`credible_ball`.

    Each partition is given once, whatever its subsets were called, with labels that are numbered
    from 0 in the order of appearance.

    Attributes:
        radius: Radius of the ball.
        mass: Share of the draws inside, at least the level that was asked for.
        horizontal: Draws at the radius, shape ``(h, n)``.
        upper_vertical: Of the draws inside with fewest subsets, those farthest from the estimate.
        lower_vertical: Of the draws inside with most subsets, those farthest from the estimate.
    """

    radius: float
    mass: float
    horizontal: Tensor
    upper_vertical: Tensor
    lower_vertical: Tensor


def credible_ball(
    draws: Partitions, estimate: Partitions, level: float = 0.95, loss: PairLoss = "vi"
) -> CredibleBall:
    """The smallest ball around an estimate that holds a share of the draws.

    Its bounds show how far the partitions inside reach: away from the estimate, towards fewer
    subsets, and towards more.

    Args:
        draws: Labels ``(draws, n)`` or one-hot matrices ``(draws, K, n)``.
        estimate: Labels, shape ``(n,)``, or a one-hot matrix ``(K, n)``.
        level: Share of the draws, in (0, 1].
        loss: The metric, ``"binder"`` or ``"vi"``.

    Raises:
        ValueError: As :func:`~pyro_drpm.partitions.as_draws`, or if the estimate is no partition of
            as many items, there is no such loss, or the level is not a share.

    References:
        Wade, S., Ghahramani, Z.: Bayesian cluster analysis: point estimation and credible balls.
        Bayesian Analysis 13(2), 2018.

    Example:
        >>> draws = [[0, 0, 1, 1]] * 8 + [[0, 0, 0, 0], [0, 1, 2, 3]]
        >>> ball = credible_ball(draws, [0, 0, 1, 1], level=0.9)
        >>> ball.radius, round(ball.mass, 2)
        (1.0, 1.0)
        >>> ball.upper_vertical.tolist(), ball.lower_vertical.tolist()
        ([[0, 0, 0, 0]], [[0, 1, 2, 3]])
    """
    check_loss(loss, 1.0, get_args(PairLoss))
    if not 0 < level <= 1:
        raise ValueError(f"expected a level in (0, 1], but got {level}")
    drawn = canonical(as_draws(draws))
    center = as_partition(estimate, drawn.shape[-1]).to(drawn.device)
    partitions, counts = drawn.unique(dim=0, return_counts=True)
    distance = _without_round_off(partition_loss(partitions, center, loss))
    radius = _radius(distance, counts, level)
    inside = distance <= radius
    number = count_subsets(partitions)
    fewest, most = number[inside].min(), number[inside].max()
    return CredibleBall(
        float(radius),
        int(counts[inside].sum()) / len(drawn),
        horizontal=_farthest(partitions, distance, inside),
        upper_vertical=_farthest(partitions, distance, inside & (number == fewest)),
        lower_vertical=_farthest(partitions, distance, inside & (number == most)),
    )


def _without_round_off(distance: Tensor) -> Tensor:
    """Give the largest of those that are equal but for round-off in the place of each."""
    ordered, order = distance.sort()
    steps = ordered.diff() > _SMALL
    largest = ordered[F.pad(steps, (0, 1), value=True)]
    return torch.empty_like(distance).scatter_(0, order, largest[F.pad(steps.cumsum(0), (1, 0))])


def _radius(distance: Tensor, counts: Tensor, level: float) -> Tensor:
    # Whole draws: 0.07 of 100 are 7, though the product of the floats is a little more.
    needed = math.ceil(level * int(counts.sum()) - 1e-9)
    ordered, order = distance.sort()
    return ordered[counts[order].cumsum(0) >= needed][0]


def _farthest(partitions: Tensor, distance: Tensor, among: Tensor) -> Tensor:
    return partitions[among & (distance == distance[among].max())]
