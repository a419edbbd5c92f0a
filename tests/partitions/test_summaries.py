# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Credible balls, sizes and common names against what can be counted."""

from __future__ import annotations

import itertools
import sys

import pytest
import torch
from torch import Tensor

from pyro_drpm import DRPM
from pyro_drpm.partitions import (
    credible_ball,
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
    ball = credible_ball(center, draws, level, loss)
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


@pytest.mark.parametrize("level", [0.0, 1.1, -0.5])
def test_bad_level(level: float) -> None:
    with pytest.raises(ValueError, match=f"a level in .* but got {level}"):
        credible_ball([0, 1], [[0, 1]], level)


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
    assert subset_sizes_of(draws, ordered=True).tolist() == [[2, 1, 1], [4, 0, 0]]
    result = size_distribution(draws, ordered=True)
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


def test_draws_with_more_subsets_than_the_reference() -> None:
    assert relabel([[2, 1, 0]], [0, 0, 0]).unique().tolist() == [0, 1, 2]


def test_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(ImportError, match=r"scipy is needed, .* 'pyro-drpm\[metrics\]'"):
        relabel([[0, 1]], [0, 1])
