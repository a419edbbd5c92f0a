# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Probable partitions of a part of the items against all of them."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from pyro_drpm.partitions import partition_loss, subpartition


def share(draws: Tensor, labels: Tensor) -> float:
    """How many draws divide the allocated items in this way."""
    given = labels >= 0
    losses = partition_loss(draws[:, given], labels[given])
    return float((losses.abs() < 1e-9).double().mean())


def some_draws(n: int, number: int, noise: float, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    random = torch.randint(3, (number, n), generator=generator)
    keep = torch.rand(number, n, generator=generator) >= noise
    return torch.where(keep, torch.arange(n) % 3, random)


def most_items(draws: Tensor, level: float) -> int:
    """Of all subsets of the items, the largest whose most frequent partition is probable enough."""
    n = draws.shape[1]
    for size in range(n, 0, -1):
        for items in itertools.combinations(range(n), size):
            if max(share(draws[:, items], draws[d, items]) for d in range(len(draws))) >= level:
                return size
    return 0


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("level", [0.3, 0.6, 0.9])
def test_as_many_items_as_possible(seed: int, level: float) -> None:
    draws = some_draws(6, 20, 0.2, seed)
    found = subpartition(draws, level)
    assert found.probability == pytest.approx(share(draws, found.labels))
    assert found.probability >= level
    assert int((found.labels >= 0).sum()) == most_items(draws, level)


def test_path_of_all_items() -> None:
    draws = some_draws(9, 60, 0.3, 0)
    found = subpartition(draws, 0.4)
    assert sorted(found.order.tolist()) == list(range(9))
    assert found.probabilities[0] == 1
    assert (found.probabilities.diff() <= 0).all()
    number = int((found.labels >= 0).sum())
    assert float(found.probabilities[number - 1]) == found.probability
    assert set(found.order[:number].tolist()) == set(
        (found.labels >= 0).nonzero().flatten().tolist()
    )


def test_labels_are_in_order_of_appearance() -> None:
    found = subpartition([[7, 7, 2, 2, 5]] * 3, 1.0)
    assert found.labels.tolist() == [0, 0, 1, 1, 2]
    assert found.probability == 1


def test_nothing_is_sure() -> None:
    """One item alone is divided in one way."""
    found = subpartition([[0, 0], [0, 1]], 0.9)
    assert int((found.labels >= 0).sum()) == 1
    assert found.probability == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"level": 0.0}, r"level in \(0, 1\], but got 0.0"),
        ({"level": 1.5}, r"level in \(0, 1\], but got 1.5"),
        ({"num_starts": 0}, "num_starts to be positive, but got 0"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        subpartition([[0, 1]], **arguments)
