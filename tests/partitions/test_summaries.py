# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Credible balls, sizes and common names against what can be counted."""

from __future__ import annotations

import itertools
import math
import sys
from collections import Counter
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from pyro_drpm import DRPM
from pyro_drpm.partitions import (
    credible_ball,
    enumerate_partitions,
    partition_loss,
    relabel,
    size_distribution,
    subset_sizes_of,
)
from pyro_drpm.partitions.losses import PairLoss


def some_draws(number: int, n: int, num_labels: int) -> Tensor:
    return torch.randint(num_labels, (number, n), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("loss", ["binder", "vi"])
@pytest.mark.parametrize("level", [0.1, 0.5, 0.9, 1.0])
def test_ball_holds_its_share_and_no_smaller_one_does(level: float, loss: PairLoss) -> None:
    draws = some_draws(60, 6, 3)
    center = draws[0]
    ball = credible_ball(draws, center, level, loss)
    distances = partition_loss(draws, center, loss)
    inside = distances <= ball.radius + 1e-9
    assert ball.mass == pytest.approx(inside.double().mean().item()) and ball.mass >= level
    assert (distances < ball.radius - 1e-9).double().mean() < level

    def numbers(labels: Tensor) -> list[int]:
        return [len(row.unique()) for row in labels]

    def farthest(rows: Tensor) -> float:
        return partition_loss(rows, center, loss).max().item()

    counts = torch.tensor(numbers(draws))[inside]
    for bound, number in (
        (ball.upper_vertical, counts.min()),
        (ball.lower_vertical, counts.max()),
    ):
        assert set(numbers(bound)) == {int(number)}
        assert farthest(bound) == pytest.approx(farthest(draws[inside][counts == number]))
    at_radius = partition_loss(ball.horizontal, center, loss)
    torch.testing.assert_close(at_radius, torch.full_like(at_radius, ball.radius))
    expected = {
        tuple(row.tolist())
        for row, distance in zip(draws, distances, strict=True)
        if abs(distance - ball.radius) < 1e-9
    }
    assert len(ball.horizontal) <= len(expected)


def ball_by_counting(
    center: list[int], draws: list[list[int]], num_inside: int, loss: PairLoss
) -> tuple[float, float]:
    """Radius and mass of the smallest ball that holds a number of draws."""
    n = len(center)
    distances = []
    for c in draws:
        pairs = list(zip(c, center, strict=True))
        if loss == "binder":
            apart = sum(
                (c[i] == c[j]) != (center[i] == center[j])
                for i, j in itertools.product(range(n), repeat=2)
            )
            distances.append(Fraction(apart, n * n))
        else:
            joint, own, other = Counter(pairs), Counter(c), Counter(center)
            bits = sum(math.log2(own[a] * other[b] / joint[a, b] ** 2) for a, b in pairs) / n
            distances.append(Fraction(round(bits, 9)))
    radius = sorted(distances)[num_inside - 1]
    return float(radius), sum(distance <= radius for distance in distances) / len(draws)


@pytest.mark.parametrize("loss", ["binder", "vi"])
@pytest.mark.parametrize("num_draws", [1, 3, 7, 10, 30, 60])
def test_balls_of_all_levels_that_are_whole_draws(num_draws: int, loss: PairLoss) -> None:
    """A third of the draws is held by a third of them, whatever floats make of that."""
    draws = some_draws(num_draws, 5, 3)
    for num_inside in range(1, num_draws + 1):
        ball = credible_ball(draws, draws[0], num_inside / num_draws, loss)
        radius, mass = ball_by_counting(draws[0].tolist(), draws.tolist(), num_inside, loss)
        assert ball.radius == pytest.approx(radius, abs=1e-8) and ball.mass == mass


@pytest.mark.parametrize(
    ("level", "num_draws", "num_inside"),
    [
        (0.9, 10, 9),
        (0.07, 100, 7),
        (0.1 + 0.2, 10, 3),
        (0.55, 100, 55),
        (1.0, 58, 58),
        (0.91, 10, 10),
    ],
)
def test_ties_of_the_level_are_exact(level: float, num_draws: int, num_inside: int) -> None:
    """Draw k has k items of 2 D apart, so that the radius tells how many draws are inside."""
    n = 2 * num_draws
    draws = (torch.arange(n) < torch.arange(num_draws).unsqueeze(-1)).long()
    ball = credible_ball(draws, [0] * n, level, "binder")
    k = num_inside - 1
    assert ball.radius == pytest.approx(2 * k * (n - k) / n**2)
    assert ball.mass == num_inside / num_draws


def test_a_partition_is_listed_once_under_any_names() -> None:
    draws = [[0, 0, 1, 1], [1, 1, 0, 0], [7, 7, -2, -2], [0, 1, 1, 1], [5, 3, 3, 3]]
    ball = credible_ball(draws, [0, 0, 0, 0], 1.0)
    assert ball.horizontal.tolist() == [[0, 0, 1, 1]]
    assert ball.upper_vertical.tolist() == ball.lower_vertical.tolist() == [[0, 0, 1, 1]]


def test_partitions_of_one_distance_are_all_listed() -> None:
    """Subsets of the same sizes in all orders, whose distances differ by round-off."""
    orders = list(itertools.permutations((3, 5, 7, 11)))
    draws = [[k for k, size in enumerate(sizes) for _ in range(size)] for sizes in orders]
    center = [0] * 26
    assert len(partition_loss(draws, center).unique()) > 1
    ball = credible_ball(draws, center, 0.01)
    assert len(ball.horizontal) == len(orders) and ball.mass == 1


@pytest.mark.parametrize("level", [0.0, 1.1, -0.5])
def test_bad_level(level: float) -> None:
    with pytest.raises(ValueError, match=f"a level in .* but got {level}"):
        credible_ball([[0, 1]], [0, 1], level)


def test_size_distribution_counts_draws() -> None:
    torch.manual_seed(0)
    Y = DRPM(torch.tensor([1.0, 3.0, 0.2]), torch.ones(5)).sample((40,))
    for draws in (Y, Y.argmax(-2)):
        result = size_distribution(draws)
        for k, size in itertools.product(range(3), range(6)):
            share = (Y[:, k].sum(-1) == size).float().mean()
            torch.testing.assert_close(result[k, size], share)


def test_sizes_without_names_fall() -> None:
    draws = torch.tensor([[7, 7, 2, 9], [1, 1, 1, 1]])
    assert subset_sizes_of(draws, sort=True).tolist() == [[2, 1, 1], [4, 0, 0]]
    result = size_distribution(draws, sort=True)
    assert result[0].tolist() == [0, 0, 0.5, 0, 0.5] and result[2].tolist() == [0.5, 0.5, 0, 0, 0]


def test_empty_subsets_of_matrices_count() -> None:
    Y = torch.zeros(1, 4, 2)
    Y[0, 0] = 1
    for draws in (Y, Y.numpy(), Y.tolist()):
        assert subset_sizes_of(draws).tolist() == [[2, 0, 0, 0]]


def test_negative_labels_have_no_size() -> None:
    with pytest.raises(ValueError, match="labels from 0, but got -2"):
        subset_sizes_of([[0, -2]])


def test_relabelling_keeps_the_partition_and_agrees_best() -> None:
    draws = some_draws(20, 7, 3)
    reference = torch.tensor([0, 1, 2, 0, 1, 2, 1])
    renamed = relabel(draws, reference)
    for before, after in zip(draws, renamed, strict=True):
        assert float(partition_loss(before, after)) == pytest.approx(0, abs=1e-12)
        agreement = int((after == reference).sum())
        best = max(
            int((torch.tensor(names)[before] == reference).sum())
            for names in itertools.permutations(range(3))
        )
        assert agreement == best


def test_switched_labels_are_switched_back() -> None:
    truth = torch.tensor([0, 0, 1, 1, 2, 2])
    switched = torch.stack([torch.tensor(p)[truth] for p in itertools.permutations(range(3))])
    assert (relabel(switched, truth) == truth).all()


@pytest.mark.parametrize("reference", [[2, 2, 5, 5, 9], [1, 1, 2, 2, 3], [-4, -4, 0, 0, 7]])
def test_names_are_those_of_the_reference(reference: list[int]) -> None:
    assert relabel([reference, [0, 0, 1, 1, 2]], reference).tolist() == [reference] * 2
    further = relabel([[0, 1, 2, 3, 4]], reference)[0].tolist()
    assert len(set(further)) == 5 and set(reference) < set(further)
    largest = max(reference)
    assert set(further) - set(reference) == {largest + 1, largest + 2}


def test_matchings_of_draws_with_fewer_and_more_subsets_agree_best() -> None:
    reference = torch.tensor([3, 3, 5, 5, 8, 8])
    for draw in enumerate_partitions(6)[::3]:
        renamed = relabel(draw.unsqueeze(0), reference)[0]
        assert float(partition_loss(draw, renamed)) == 0
        names = [3, 5, 8, 9, 10, 11]
        best = max(
            int((torch.tensor(choice)[draw] == reference).sum())
            for choice in itertools.permutations(names, int(draw.max()) + 1)
        )
        assert int((renamed == reference).sum()) == best


def test_draws_with_more_subsets_than_the_reference() -> None:
    assert relabel([[2, 1, 0]], [0, 0, 0]).unique().tolist() == [0, 1, 2]


def test_draws_agree_without_a_reference() -> None:
    """Copies of a partition of four subsets with some noise, under names at random."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.arange(20) % 4
    noise = torch.randint(4, (50, 20), generator=generator)
    noisy = torch.where(torch.rand(50, 20, generator=generator) < 0.15, noise, truth)
    names = torch.stack([torch.randperm(4, generator=generator) for _ in range(50)])
    found = relabel(names.gather(1, noisy))
    agree = torch.stack([(found == one).double().mean() for one in _renamings(noisy, 4)])
    assert float(agree.max()) > 0.98
    for one, other in zip(found, noisy, strict=True):
        assert float(partition_loss(one, other)) == pytest.approx(0, abs=1e-12)


def _renamings(labels: Tensor, number: int) -> list[Tensor]:
    return [torch.tensor(p)[labels] for p in itertools.permutations(range(number))]


def test_names_are_those_of_most_weight() -> None:
    draws = [[0, 0, 1, 1], [0, 1, 1, 1], [0, 1, 1, 1]]
    light = relabel(draws, weights=[10.0, 1.0, 1.0])
    assert light[0].tolist() == [0, 0, 1, 1]
    assert torch.equal(light, relabel(draws, reference=draws[0]))
    with pytest.raises(ValueError, match="either a reference, or weights"):
        relabel(draws, draws[0], weights=[1.0, 1.0, 1.0])
    with pytest.raises(ValueError, match="3 weights, one for each draw"):
        relabel(draws, weights=[1.0])


def test_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(ImportError, match=r"scipy is needed, .* 'pyro-drpm\[metrics\]'"):
        relabel([[0, 1]], [0, 1])
