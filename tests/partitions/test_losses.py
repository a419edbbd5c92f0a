# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Losses against their definitions: pairs counted one by one, entropies of joint laws."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from torch import Tensor

from pyro_drpm.partitions import (
    as_draws,
    enumerate_partitions,
    expected_loss,
    partition_loss,
    similarity_matrix,
)
from pyro_drpm.partitions.losses import Loss, PairLoss

LOSSES = get_args(Loss)
PAIR_LOSSES = get_args(PairLoss)
WEIGHTED = ("binder", "vi", "vi_lb")
# Losses and weights.
CASES = [(loss, a) for loss in LOSSES for a in ((1.0, 0.4, 1.7) if loss in WEIGHTED else (1.0,))]


def binder(c: list[int], estimate: list[int], a: float) -> float:
    """Of all ordered pairs, those that one partition unites and the other divides."""
    total = 0.0
    for i, j in itertools.product(range(len(c)), repeat=2):
        together, estimated = c[i] == c[j], estimate[i] == estimate[j]
        total += a * (together and not estimated) + (2 - a) * (estimated and not together)
    return total / len(c) ** 2


def entropy(values: list[object]) -> float:
    return -sum(k / len(values) * math.log2(k / len(values)) for k in Counter(values).values())


def vi(c: list[int], estimate: list[int], a: float) -> float:
    """Conditional entropies in bits."""
    joint = entropy(list(zip(c, estimate, strict=True)))
    return a * (joint - entropy(list(c))) + (2 - a) * (joint - entropy(list(estimate)))


def mutual_information(c: list[int], estimate: list[int]) -> float:
    joint = entropy(list(zip(c, estimate, strict=True)))
    return entropy(list(c)) + entropy(list(estimate)) - joint


def nvi(c: list[int], estimate: list[int], a: float) -> float:
    joint = entropy(list(zip(c, estimate, strict=True)))
    return 1 - mutual_information(c, estimate) / joint if joint else 0.0


def information_distance(c: list[int], estimate: list[int], a: float) -> float:
    return max(entropy(list(c)), entropy(list(estimate))) - mutual_information(c, estimate)


def nid(c: list[int], estimate: list[int], a: float) -> float:
    return 1 - normalized_mutual_info_score(c, estimate, average_method="max")


def omari(c: list[int], estimate: list[int], a: float) -> float:
    return 1 - adjusted_rand_score(c, estimate)


DEFINITIONS: dict[str, Callable[[list[int], list[int], float], float]] = {
    "binder": binder,
    "vi": vi,
    "omari": omari,
    "nvi": nvi,
    "id": information_distance,
    "nid": nid,
}


def lower_bound(draws: list[list[int]], estimate: list[int], a: float) -> float:
    n, total = len(estimate), 0.0
    for i in range(n):
        p = [sum(c[i] == c[j] for c in draws) / len(draws) for j in range(n)]
        mine = [j for j in range(n) if estimate[j] == estimate[i]]
        total += (2 - a) * math.log2(len(mine)) + a * math.log2(sum(p))
        total -= 2 * math.log2(sum(p[j] for j in mine))
    return total / n


def expected(draws: list[list[int]], estimate: list[int], loss: Loss, a: float) -> float:
    if loss == "vi_lb":
        return lower_bound(draws, estimate, a)
    each = DEFINITIONS[loss]
    return sum(each(c, estimate, a) for c in draws) / len(draws)


def some_draws(n: int, number: int, num_labels: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(num_labels, (number, n), generator=generator)


@pytest.mark.parametrize(("loss", "a"), [case for case in CASES if case[0] != "vi_lb"])
def test_loss_of_all_pairs_of_partitions_of_five_items(loss: PairLoss, a: float) -> None:
    partitions = enumerate_partitions(5)
    result = partition_loss(partitions.unsqueeze(1), partitions, loss, a)
    definition = DEFINITIONS[loss]
    rows = partitions.tolist()
    exact = [[definition(c, estimate, a) for estimate in rows] for c in rows]
    torch.testing.assert_close(result, torch.tensor(exact, dtype=torch.float64), atol=1e-12, rtol=0)


@pytest.mark.parametrize(("loss", "a"), CASES)
@pytest.mark.parametrize("n", range(1, 10))
def test_expected_loss_of_all_partitions(n: int, loss: Loss, a: float) -> None:
    draws, partitions = some_draws(n, 6, 4, seed=n), enumerate_partitions(n)
    result = expected_loss(draws, partitions, loss, a)
    every = range(0, len(partitions), max(1, len(partitions) // 60))
    exact = [expected(draws.tolist(), partitions[k].tolist(), loss, a) for k in every]
    found = result[list(every)]
    torch.testing.assert_close(found, torch.tensor(exact, dtype=torch.float64), atol=1e-12, rtol=0)


@given(data=st.data(), n=st.integers(1, 12))
def test_metrics(data: st.DataObject, n: int) -> None:
    labels = st.lists(st.integers(-3, 3), min_size=n, max_size=n)
    x, y, z = (torch.tensor(data.draw(labels)) for _ in range(3))
    for loss in PAIR_LOSSES:
        xy, yz, xz, xx = (partition_loss(*p, loss) for p in ((x, y), (y, z), (x, z), (x, x)))
        torch.testing.assert_close(xy, partition_loss(y, x, loss), atol=1e-12, rtol=0)
        assert abs(xx) < 1e-12 and xy > -1e-12
        # One minus the adjusted Rand index is no metric.
        assert loss == "omari" or xz <= xy + yz + 1e-12
        renamed = (3 - x) * 10
        torch.testing.assert_close(partition_loss(renamed, y, loss), xy, atol=1e-12, rtol=0)


def test_many_estimates_and_draws_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = some_draws(20, 50, 5)
    whole = expected_loss(draws, draws, "vi"), similarity_matrix(draws)
    monkeypatch.setattr("pyro_drpm.partitions.losses._CHUNK", 1000)
    monkeypatch.setattr("pyro_drpm.partitions.rows._CHUNK", 300)
    torch.testing.assert_close(expected_loss(draws, draws, "vi"), whole[0])
    torch.testing.assert_close(similarity_matrix(draws), whole[1])


def test_similarity_counts_pairs() -> None:
    draws = some_draws(6, 11, 3)
    result = similarity_matrix(draws)
    for i, j in itertools.product(range(6), repeat=2):
        share = sum(int(c[i] == c[j]) for c in draws) / 11
        assert result[i, j].item() == pytest.approx(share, abs=1e-6)


def test_weights_are_numbers_of_draws() -> None:
    draws, times = some_draws(6, 5, 3), [3, 1, 0, 2, 4]
    repeated = draws.repeat_interleave(torch.tensor(times), 0)
    weighted = similarity_matrix(draws, weights=[0.3 * t for t in times])
    torch.testing.assert_close(weighted, similarity_matrix(repeated))


@pytest.mark.parametrize("weights", [[1.0, -1.0], [0.0, 0.0], [1.0, math.nan], [1.0, 1.0, 1.0]])
def test_bad_weights(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="weights"):
        similarity_matrix([[0, 1], [0, 0]], weights=weights)


def test_draws_may_come_as_lists_and_arrays() -> None:
    labels = some_draws(7, 9, 3)
    for draws in (labels.tolist(), labels.numpy(), list(labels), labels.int()):
        assert torch.equal(as_draws(draws), labels)


def test_one_hot_matrices_are_their_labels() -> None:
    labels = some_draws(7, 9, 3)
    Y = torch.nn.functional.one_hot(labels, 3).mT.float()
    assert torch.equal(as_draws(Y), labels)
    assert torch.equal(similarity_matrix(Y), similarity_matrix(labels))
    straight_through = Y + torch.randn_like(Y).mul(0).requires_grad_()
    assert torch.equal(as_draws(straight_through), labels)


@pytest.mark.parametrize("n", range(1, 10))
def test_enumeration_lists_every_partition_once(n: int) -> None:
    partitions = enumerate_partitions(n)
    assert len(partitions) == [1, 2, 5, 15, 52, 203, 877, 4140, 21147][n - 1]  # Bell's numbers
    assert len(partitions.unique(dim=0)) == len(partitions)
    so_far = torch.cat([torch.full((len(partitions), 1), -1), partitions.cummax(-1).values], -1)
    assert (partitions <= so_far[:, :-1] + 1).all() and (partitions >= 0).all()


@pytest.mark.parametrize("n", [0, -1, 12])
def test_too_many_items_to_enumerate(n: int) -> None:
    with pytest.raises(ValueError, match=f"but got {n}"):
        enumerate_partitions(n)


@pytest.mark.parametrize(
    ("draws", "message"),
    [
        (torch.tensor([[0.5, 1.0]]), "labels that are integers, but got torch.float32"),
        (torch.zeros(0, 4, dtype=torch.long), r"at least one draw of one item, but got .*\(0, 4\)"),
        ([], "at least one draw"),
        (torch.zeros(3, dtype=torch.long), r"got shape \(3,\)"),
        ([[0, 1], [0, 1, 1]], r"one length, but got lengths \[2, 3\]"),
        ([["a", "b"]], r"numbers .* but got \[\['a', 'b'\]\]"),
        ([torch.zeros(2), torch.zeros(3)], r"one length, but got lengths \[2, 3\]"),
        (torch.zeros(2, 3, 4), "with one 1 in every column"),
        (torch.full((2, 2, 4), 0.5), "with one 1 in every column"),
    ],
)
def test_bad_draws(draws: Any, message: str) -> None:
    for function in (as_draws, similarity_matrix, lambda d: expected_loss(d, [0, 1])):
        with pytest.raises(ValueError, match=message):
            function(draws)


def test_bad_arguments() -> None:
    draws = [[0, 1], [0, 0]]
    with pytest.raises(ValueError, match="labels of 2 items, but got 3"):
        expected_loss(draws, [0, 1, 1])
    with pytest.raises(
        ValueError, match="one of binder, vi, omari, nvi, id, nid, vi_lb, but got 'rand'"
    ):
        expected_loss(draws, [0, 1], "rand")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one of binder, vi, omari, nvi, id, nid, but got 'vi_lb'"):
        partition_loss([0, 1], [0, 0], "vi_lb")  # type: ignore[arg-type]
    for a in (0.0, 2.0, -1.0):
        with pytest.raises(ValueError, match=f"between 0 and 2, but got {a}"):
            expected_loss(draws, [0, 1], a=a)
    with pytest.raises(ValueError, match="a = 1 for the loss 'nvi', which has no weights"):
        partition_loss([0, 1], [0, 0], "nvi", a=0.5)
    with pytest.raises(ValueError, match="integers"):
        partition_loss([0.0, 1.0], [0, 1])
