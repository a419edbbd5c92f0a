# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The search against the best of all partitions, and against the best of the draws."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from pyro_drpm import DRPM
from pyro_drpm.distributions import FixedSizes
from pyro_drpm.partitions import (
    enumerate_partitions,
    expected_loss,
    partition_loss,
    point_estimate,
)
from pyro_drpm.partitions.losses import Loss

LOSSES = get_args(Loss)
WEIGHTED = ("binder", "vi", "vi_lb")
CASES = [(loss, a) for loss in LOSSES for a in ((1.0, 0.5, 1.5) if loss in WEIGHTED else (1.0,))]


def noisy_draws(n: int, number: int, num_subsets: int, noise: float, seed: int) -> Tensor:
    """Copies of a partition, some of whose labels have been drawn anew."""
    generator = torch.Generator().manual_seed(seed)
    center = torch.randint(num_subsets, (n,), generator=generator)
    other = torch.randint(num_subsets + 1, (number, n), generator=generator)
    return torch.where(torch.rand(number, n, generator=generator) < noise, other, center)


@pytest.mark.parametrize(("loss", "a"), CASES)
@pytest.mark.parametrize("noise", [0.3, 1.0])
@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_finds_the_best_of_all_partitions(n: int, noise: float, loss: Loss, a: float) -> None:
    draws = noisy_draws(n, 30, 3, noise, seed=n)
    torch.manual_seed(0)
    estimate = point_estimate(draws, loss, a)
    best = expected_loss(draws, enumerate_partitions(n), loss, a).min()
    assert estimate.expected_loss == pytest.approx(float(best), abs=1e-9)
    found = expected_loss(draws, estimate.labels, loss, a)
    assert estimate.expected_loss == pytest.approx(float(found), abs=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("limit", [1, 2, 3])
def test_best_of_the_partitions_into_few_subsets(loss: Loss, limit: int) -> None:
    draws = noisy_draws(7, 20, 4, 0.4, seed=3)
    torch.manual_seed(0)
    estimate = point_estimate(draws, loss, max_subsets=limit)
    allowed = enumerate_partitions(7)
    allowed = allowed[allowed.amax(-1) < limit]
    assert estimate.labels.max() < limit
    best = float(expected_loss(draws, allowed, loss).min())
    assert estimate.expected_loss == pytest.approx(best, abs=1e-9)


@pytest.mark.parametrize("loss", LOSSES)
def test_at_least_as_good_as_the_best_draw(loss: Loss) -> None:
    torch.manual_seed(0)
    draws = DRPM(torch.ones(5), torch.linspace(0, 8, 40).exp()).sample((100,))
    estimate = point_estimate(draws, loss)
    labels = draws.argmax(-2)
    assert estimate.expected_loss <= float(expected_loss(draws, labels, loss).min()) + 1e-12


@pytest.mark.parametrize("loss", ["binder", "vi", "nvi", "vi_lb"])
def test_more_subsets_than_any_draw_has(loss: Loss) -> None:
    """Draws that each unite another pair: the best estimate divides all of them."""
    draws = torch.arange(8).repeat(8, 1)
    draws[torch.arange(8), torch.arange(8)] = torch.arange(1, 9) % 8
    torch.manual_seed(0)
    assert point_estimate(draws, loss).labels.tolist() == list(range(8))


@pytest.mark.parametrize("loss", LOSSES)
def test_labels_are_in_order_of_appearance(loss: Loss) -> None:
    draws = torch.tensor([[5, 5, 1, 1, 3]] * 4)
    estimate = point_estimate(draws, loss)
    assert estimate.labels.tolist() == [0, 0, 1, 1, 2]
    assert estimate.expected_loss == pytest.approx(0, abs=1e-9)


def test_same_seed_same_search() -> None:
    draws = noisy_draws(40, 10, 4, 1.0, seed=0)
    runs = [
        point_estimate(
            draws, num_starts=1, max_sweeps=1, generator=torch.Generator().manual_seed(seed)
        )
        for seed in (1, 1, 2, 3, 4)
    ]
    assert torch.equal(runs[0].labels, runs[1].labels)
    assert any(not torch.equal(runs[0].labels, other.labels) for other in runs[2:])


def test_progress_is_silent_unless_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    draws = noisy_draws(5, 5, 2, 0.3, seed=0)
    point_estimate(draws)
    assert capsys.readouterr() == ("", "")
    point_estimate(draws, progress=True)
    assert "sweeps" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["max_subsets", "num_starts", "max_sweeps"])
def test_bad_numbers(name: str) -> None:
    arguments: dict[str, Any] = {name: 0}
    with pytest.raises(ValueError, match=f"{name} to be positive, but got 0"):
        point_estimate([[0, 1]], **arguments)


def test_bad_loss() -> None:
    with pytest.raises(
        ValueError, match="one of binder, vi, omari, nvi, id, nid, vi_lb, but got 'ari'"
    ):
        point_estimate([[0, 1]], "ari")  # type: ignore[arg-type]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    "wanted",
    [{"sizes": [2, 2, 3]}, {"min_size": 2}, {"max_size": 3}, {"min_size": 2, "max_size": 4}],
)
def test_best_of_the_partitions_of_certain_sizes(loss: Loss, wanted: dict[str, Any]) -> None:
    for seed in range(3):
        draws = noisy_draws(7, 20, 3, 0.5, seed)
        torch.manual_seed(0)
        estimate = point_estimate(draws, loss, **wanted)
        every = enumerate_partitions(7)
        sizes = [sorted(row.bincount().tolist()) for row in every]
        least, most = wanted.get("min_size", 1), wanted.get("max_size", 7)
        kept = [
            size == wanted["sizes"] if "sizes" in wanted else least <= size[0] and size[-1] <= most
            for size in sizes
        ]
        assert sorted(estimate.labels.bincount().tolist()) in [
            size for size, keeps in zip(sizes, kept, strict=True) if keeps
        ]
        best = float(expected_loss(draws, every[torch.tensor(kept)], loss).min())
        assert estimate.expected_loss == pytest.approx(best, abs=1e-9)


def test_draws_of_equal_sizes_give_equal_sizes() -> None:
    """Without the sizes the estimate has others."""
    torch.manual_seed(0)
    draws = DRPM(sizes=FixedSizes([4, 4, 4]), log_s=torch.linspace(2, 0, 12)).sample((200,))
    free, bound = point_estimate(draws), point_estimate(draws, sizes=[4, 4, 4])
    assert sorted(free.labels.bincount().tolist()) != [4, 4, 4]
    assert bound.labels.bincount().tolist() == [4, 4, 4]
    assert bound.expected_loss >= free.expected_loss
    assert bound.expected_loss <= float(expected_loss(draws, draws).min())


def test_sizes_of_many_items_are_found_by_swaps_with_some() -> None:
    truth = torch.arange(150) % 3
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(3, (40, 150), generator=generator)
    draws = torch.where(torch.rand(40, 150, generator=generator) < 0.2, noise, truth)
    torch.manual_seed(0)
    estimate = point_estimate(draws, sizes=torch.tensor([50, 50, 50]))
    assert float(partition_loss(estimate.labels, truth)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"sizes": [2, 2]}, r"sizes that add up to 5, but got \[2, 2\]"),
        ({"sizes": [5, 0]}, r"positive integers, but got \[5, 0\]"),
        ({"sizes": [2.5, 2.5]}, "positive integers"),
        ({"sizes": [2, 3], "max_size": 4}, "either sizes, or bounds"),
        ({"min_size": 3, "max_size": 4}, "5 items cannot be divided into subsets of 3 to 4"),
        ({"max_size": 2, "max_subsets": 2}, "into at most 2 keeps, but 5 items cannot"),
        ({"min_size": 0}, "min_size to be positive, but got 0"),
    ],
)
def test_sizes_that_no_partition_has(wanted: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        point_estimate([[0, 1, 0, 1, 1]], **wanted)
