# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Several estimates against all choices of as many partitions."""

from __future__ import annotations

import itertools
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from pyro_drpm.partitions import (
    enumerate_partitions,
    partition_loss,
    point_estimate,
    weighted_estimates,
)
from pyro_drpm.types import PairLoss

LOSSES = get_args(PairLoss)


def bimodal(n: int, number: int, noise: float, seed: int = 0) -> Tensor:
    """Draws around two partitions, three in five around the first."""
    generator = torch.Generator().manual_seed(seed)
    one, other = torch.arange(n) % 2, torch.arange(n) // ((n + 1) // 2)
    center = torch.where(torch.arange(number).unsqueeze(-1) % 5 < 3, one, other)
    random = torch.randint(3, (number, n), generator=generator)
    return torch.where(torch.rand(number, n, generator=generator) < noise, random, center)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("noise", "excess"), [(0.1, 0.0), (0.6, 0.02)])
def test_best_of_all_pairs_of_partitions(loss: PairLoss, noise: float, excess: float) -> None:
    """Where draws are mostly noise, the search may miss the best by a little, as k-means does."""
    draws, every = bimodal(6, 25, noise), enumerate_partitions(6)
    torch.manual_seed(0)
    found = weighted_estimates(draws, 2, loss, num_starts=16)
    losses = torch.stack([partition_loss(draws, one, loss) for one in every])
    pairs = torch.tensor(list(itertools.combinations(range(len(every)), 2)))
    best = torch.minimum(losses[pairs[:, 0]], losses[pairs[:, 1]]).mean(-1).min()
    assert float(best) - 1e-9 < found.expected_loss < (1 + excess) * float(best) + 1e-9


def test_what_is_returned_belongs_together() -> None:
    draws = bimodal(12, 50, 0.15)
    torch.manual_seed(0)
    found = weighted_estimates(draws, 3)
    losses = torch.stack([partition_loss(draws, one) for one in found.labels])
    assert torch.equal(found.nearest, losses.argmin(0))
    assert found.expected_loss == pytest.approx(float(losses.amin(0).mean()))
    shares = found.nearest.bincount(minlength=3).double() / 50
    assert torch.equal(found.weights, shares)
    assert (found.weights.diff() <= 0).all()


def test_two_modes_are_found_with_their_weights() -> None:
    draws = bimodal(12, 100, 0.1)
    torch.manual_seed(0)
    found = weighted_estimates(draws, 2)
    assert float(partition_loss(found.labels[0], torch.arange(12) % 2)) < 1e-9
    assert float(partition_loss(found.labels[1], torch.arange(12) // 6)) < 1e-9
    assert found.weights.tolist() == [0.6, 0.4]
    assert found.expected_loss < 0.6 * weighted_estimates(draws, 1).expected_loss


def test_one_is_the_point_estimate() -> None:
    draws = bimodal(9, 40, 0.3)
    torch.manual_seed(0)
    found, best = weighted_estimates(draws, 1), point_estimate(draws)
    assert found.expected_loss == pytest.approx(best.expected_loss, abs=1e-9)
    assert found.weights.tolist() == [1.0]


def test_as_many_as_there_are_draws() -> None:
    draws = torch.tensor([[0, 0, 1], [0, 1, 1], [5, 5, 5], [1, 1, 0]])
    found = weighted_estimates(draws, 3)
    assert found.expected_loss == pytest.approx(0, abs=1e-12)
    assert found.weights.tolist() == [0.5, 0.25, 0.25]


def test_same_generator_same_estimates() -> None:
    draws = bimodal(12, 50, 0.3)
    one, other = (
        weighted_estimates(draws, 3, generator=torch.Generator().manual_seed(4)) for _ in range(2)
    )
    assert torch.equal(one.labels, other.labels)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"number": 0}, "number to be positive, but got 0"),
        ({"number": 1, "num_starts": 0}, "num_starts to be positive, but got 0"),
        ({"number": 3}, "got 2 for 3"),
        ({"number": 1, "loss": "vi_lb"}, "but got 'vi_lb'"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        weighted_estimates([[0, 1], [0, 0], [1, 1]], **arguments)
