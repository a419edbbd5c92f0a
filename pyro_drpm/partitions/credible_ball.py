# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Partitions around an estimate that hold most of the posterior."""

from __future__ import annotations

from typing import NamedTuple, get_args

from torch import Tensor

from pyro_drpm.partitions.labels import Partitions, as_draws, as_labels, compact
from pyro_drpm.partitions.losses import PairLoss, check_loss, partition_loss

__all__ = ["CredibleBall", "credible_ball"]


class CredibleBall(NamedTuple):
    """Result of :func:`credible_ball`; partitions are given once each, as labels from 0.

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
    estimate: Partitions, draws: Partitions, level: float = 0.95, loss: PairLoss = "vi"
) -> CredibleBall:
    """The smallest ball around an estimate that holds a share of the draws.

    Its bounds show how far the partitions inside reach: away from the estimate, towards fewer
    subsets, and towards more.

    Args:
        estimate: Labels, shape ``(n,)``.
        draws: Labels ``(draws, n)`` or one-hot matrices ``(draws, K, n)``.
        level: Share of the draws, in (0, 1].
        loss: The metric, ``"binder"`` or ``"vi"``.

    Raises:
        ValueError: If labels are not integers or differ in length, there are no draws, there is no
            such loss, or the level is not a share.

    References:
        Wade, S., Ghahramani, Z.: Bayesian cluster analysis: point estimation and credible balls.
        Bayesian Analysis 13(2), 2018.

    Example:
        >>> draws = [[0, 0, 1, 1]] * 8 + [[0, 0, 0, 0], [0, 1, 2, 3]]
        >>> ball = credible_ball([0, 0, 1, 1], draws, level=0.9)
        >>> ball.radius, round(ball.mass, 2)
        (1.0, 1.0)
        >>> ball.upper_vertical.tolist(), ball.lower_vertical.tolist()
        ([[0, 0, 0, 0]], [[0, 1, 2, 3]])
    """
    check_loss(loss, 1.0, get_args(PairLoss))
    if not 0 < level <= 1:
        raise ValueError(f"expected a level in (0, 1], but got {level}")
    drawn = compact(as_draws(draws))
    center = as_labels(estimate, drawn.shape[-1]).to(drawn.device)
    partitions, counts = drawn.unique(dim=0, return_counts=True)
    # Round-off must not tell apart what is equally far.
    distance = partition_loss(partitions, center, loss).round(decimals=12)
    radius, mass = _radius(distance, counts / len(drawn), level)
    inside = distance <= radius
    number = partitions.amax(-1) + 1
    bounds = [
        _farthest(partitions, distance, inside & (number == number[inside].min())),
        _farthest(partitions, distance, inside & (number == number[inside].max())),
    ]
    horizontal = _farthest(partitions, distance, inside)
    return CredibleBall(radius, mass, horizontal, *bounds)


def _radius(distance: Tensor, share: Tensor, level: float) -> tuple[float, float]:
    ordered, order = distance.sort()
    reached = share[order].double().cumsum(0) >= level - 1e-12
    radius = ordered[int(reached.int().argmax())]
    return float(radius), float(share[distance <= radius].double().sum())


def _farthest(partitions: Tensor, distance: Tensor, among: Tensor) -> Tensor:
    return partitions[among & (distance == distance[among].max())]
