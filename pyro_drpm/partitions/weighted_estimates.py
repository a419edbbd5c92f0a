# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Several partitions with weights, for posteriors that one partition does not stand for."""

from __future__ import annotations

from typing import NamedTuple, get_args

import torch
from torch import Tensor

from pyro_drpm.partitions.labels import as_draws, canonical
from pyro_drpm.partitions.losses import PairLoss, check_loss, partition_loss
from pyro_drpm.partitions.point_estimates import point_estimate
from pyro_drpm.types import Partitions

__all__ = ["WeightedEstimates", "weighted_estimates"]

_MAX_ROUNDS = 50
# A short search: groups change, and their estimates are searched for again.
_SEARCH_STARTS, _SEARCH_SWEEPS = 4, 20


class WeightedEstimates(NamedTuple):
    """Result of :func:`weighted_estimates`.

    Attributes:
        labels: Partitions, that of the largest weight first, shape ``(L, n)``.
        weights: Shares of the draws that are nearest to each, shape ``(L,)``, float64.
        expected_loss: Mean loss of the nearest partition over the draws.
        nearest: Which partition is nearest to each draw, shape ``(draws,)``.
    """

    labels: Tensor
    weights: Tensor
    expected_loss: float
    nearest: Tensor


def weighted_estimates(
    draws: Partitions,
    number: int,
    loss: PairLoss = "vi",
    *,
    num_starts: int = 4,
    generator: torch.Generator | None = None,
) -> WeightedEstimates:
    r"""Search for a few partitions with weights that stand for draws of a partition.

    Their law is as near as possible to that of the draws in the sense of Wasserstein: the mean
    over the draws of the loss of the nearest of them,

    .. math:: D^{-1} \sum_d \min_l L(c_d, \hat c_l),

    is least. One is the point estimate. If the mean falls steeply with a second or a third, the
    posterior has as many modes, and each of them says more than a compromise. As in k-means, draws
    go to the nearest partition, and each partition becomes the point estimate of its draws, until
    nothing changes.

    Args:
        draws: Labels ``(draws, n)`` or one-hot matrices ``(draws, K, n)``.
        number: How many partitions, ``L``, at most the number of different draws.
        loss: One of :func:`~pyro_drpm.partitions.partition_loss`.
        num_starts: Number of searches; each starts with draws that are far from each other.
        generator: Source of randomness, on the device of the draws; torch's own by default.

    Returns:
        The best that was found.

    Raises:
        ValueError: As :func:`~pyro_drpm.partitions.partition_loss`, or if a number is not positive,
            or there are fewer different draws than partitions.

    References:
        Balocchi, C., Wade, S.: Understanding uncertainty in Bayesian cluster analysis. arXiv
        2506.16295, 2025 (WASABI).

    Example:
        >>> draws = [[0, 0, 1, 1]] * 6 + [[0, 1, 0, 1]] * 4
        >>> found = weighted_estimates(draws, 2)
        >>> found.labels.tolist(), found.weights.tolist()
        ([[0, 0, 1, 1], [0, 1, 0, 1]], [0.6, 0.4])
    """
    check_loss(loss, 1.0, get_args(PairLoss))
    for name, value in {"number": number, "num_starts": num_starts}.items():
        if value < 1:
            raise ValueError(f"expected {name} to be positive, but got {value}")
    drawn = canonical(as_draws(draws))
    num_different = len(drawn.unique(dim=0))
    if number > num_different:
        raise ValueError(
            f"expected as many different draws as partitions, but got {num_different} for {number}"
        )
    searches = [_improved(drawn, number, loss, generator) for _ in range(num_starts)]
    return min(searches, key=lambda found: found.expected_loss)


def _improved(
    drawn: Tensor, number: int, loss: PairLoss, generator: torch.Generator | None
) -> WeightedEstimates:
    centers = _far_apart(drawn, number, loss, generator)
    losses = _losses(drawn, centers, loss)
    for _ in range(_MAX_ROUNDS):
        before = float(losses.amin(0).mean())
        nearest = losses.argmin(0)
        for k in range(number):
            mine = drawn[nearest == k]
            if len(mine):
                centers[k] = _best(mine, centers[k], loss, generator)
        losses = _losses(drawn, centers, loss)
        if float(losses.amin(0).mean()) > before - 1e-9:
            break
    least, nearest = losses.min(0)
    counts = nearest.bincount(minlength=number)
    order = counts.argsort(descending=True, stable=True)
    return WeightedEstimates(
        centers[order],
        counts[order].double() / len(drawn),
        float(least.mean()),
        order.argsort()[nearest],
    )


def _far_apart(
    drawn: Tensor, number: int, loss: PairLoss, generator: torch.Generator | None
) -> Tensor:
    """Draws, each chosen in proportion to its squared distance from those before (k-means++)."""
    weights = torch.ones(len(drawn), dtype=torch.float64, device=drawn.device)
    least = torch.full_like(weights, torch.inf)
    centers: list[Tensor] = []
    for _ in range(number):
        center = drawn[int(torch.multinomial(weights, 1, generator=generator))]
        centers.append(center)
        least = torch.minimum(least, partition_loss(drawn, center, loss).clamp(min=0))
        weights = least.square() * (least > 1e-12)
    return torch.stack(centers)


def _losses(drawn: Tensor, centers: Tensor, loss: PairLoss) -> Tensor:
    return torch.stack([partition_loss(drawn, center, loss) for center in centers])


def _best(
    mine: Tensor, center: Tensor, loss: PairLoss, generator: torch.Generator | None
) -> Tensor:
    """The point estimate of some draws, or what they have if that is better."""
    found = point_estimate(
        mine, loss, num_starts=_SEARCH_STARTS, max_sweeps=_SEARCH_SWEEPS, generator=generator
    )
    old = float(partition_loss(mine, center, loss).mean())
    return found.labels if found.expected_loss < old - 1e-12 else center
