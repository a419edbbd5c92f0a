# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Changes between neighboring partitions against partitions that are written down."""

import itertools
import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_drpm.ops.assignment.changes import Changes
from pyro_drpm.ops.assignment.ordering_changes import best_ordering_changes
from pyro_drpm.ops.assignment.probability import log_assignment_probability
from pyro_drpm.ops.assignment.probability_changes import assignment_probability_changes
from pyro_drpm.ops.assignment.ranks import Ranks
from tests.oracles import log_assignment, log_ordering, orderings_of

COUNTS = [
    [3, 2],
    [5, 0],
    [0, 5],
    [2, 1, 2],
    [1, 1, 3],
    [4, 0, 1],
    [0, 3, 2, 0],
    [2, 1, 0, 1, 1],
    [1],
]


def best_ordering(log_s: Tensor, Y: Tensor) -> float:
    return max(log_ordering(log_s, ordering) for ordering in orderings_of(Y))


def log_number_of_orderings(log_s: Tensor, Y: Tensor) -> float:
    return sum(math.lgamma(float(size) + 1) for size in Y.sum(-1))


def expected_changes(
    f: Callable[[Tensor, Tensor], float], log_s: Tensor, ranks: Ranks
) -> tuple[Tensor, Tensor, dict[tuple[int, int, int], float]]:
    """Exchanges upwards and downwards, and joint moves of boundaries ``j`` to ``l - 1``."""
    num_subsets, n = len(ranks.counts), len(ranks.element)
    ends = ranks.counts.cumsum(0)

    def value(element: Tensor, counts: Tensor) -> float:
        labels = torch.empty(n, dtype=torch.long)
        labels[element] = torch.arange(num_subsets).repeat_interleave(counts)
        return f(log_s, F.one_hot(labels, num_subsets).mT.double())

    drawn = value(ranks.element, ranks.counts)
    exchanges = torch.zeros(2, n, dtype=torch.float64)
    for rank, k in enumerate(ranks.subset.tolist()):
        for direction, other in enumerate((int(ends[k] - ranks.counts[k]) - 1, int(ends[k]))):
            if 0 <= other < n:
                element = ranks.element.clone()
                element[[rank, other]] = element[[other, rank]]
                exchanges[direction, rank] = value(element, ranks.counts) - drawn
    moves = {}
    for sign, (j, last) in itertools.product(
        (1, -1), itertools.combinations(range(num_subsets), 2)
    ):
        moved = ends.clone()
        moved[j:last] += sign
        counts = moved.diff(prepend=torch.zeros(1, dtype=torch.long))
        if (counts >= 0).all():
            moves[sign, j, last] = value(ranks.element, counts) - drawn
    return exchanges[0], exchanges[1], moves


def check(changes: Changes, expected: tuple[Tensor, Tensor, dict], tolerance: float) -> None:
    up, down, joint = expected
    torch.testing.assert_close(changes.up, up, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(changes.down, down, rtol=tolerance, atol=tolerance)
    assert changes.moves.isfinite().all()
    for (sign, j, last), value in joint.items():
        alone, end, both = changes.moves[0 if sign > 0 else 1]
        found = alone[j] + both[j + 1 : last].sum() + end[last]
        assert found.item() == pytest.approx(value, rel=tolerance, abs=tolerance)


def drawn(counts: list[int], log_s: Tensor) -> Ranks:
    noise = -torch.rand(len(log_s), dtype=torch.float64).log().neg().log()
    return Ranks.of(torch.tensor(counts), log_s + noise)


@pytest.mark.parametrize("scale", [0.0, 1.0, 8.0, 30.0])
@pytest.mark.parametrize("counts", COUNTS)
def test_exact_mass(counts: list[int], scale: float) -> None:
    """For scores that are alike, and as much as 100 nats apart; for draws of other scores too."""
    torch.manual_seed(0)
    log_s = scale * torch.randn(sum(counts), dtype=torch.float64)
    for of_draw in (log_s, torch.zeros_like(log_s)):
        ranks = drawn(counts, of_draw)
        expected = expected_changes(log_assignment, log_s, ranks)
        check(assignment_probability_changes(log_s, ranks), expected, 5e-3)
        check(assignment_probability_changes(log_s.float(), ranks), expected, 5e-3)


@pytest.mark.parametrize("scale", [1.0, 30.0])
@pytest.mark.parametrize("counts", COUNTS)
def test_best_ordering(counts: list[int], scale: float) -> None:
    torch.manual_seed(0)
    log_s = scale * torch.randn(sum(counts), dtype=torch.float64)
    ranks = drawn(counts, torch.zeros_like(log_s))
    expected = expected_changes(best_ordering, log_s, ranks)
    check(best_ordering_changes(log_s, ranks), expected, 1e-9)


@pytest.mark.parametrize("counts", COUNTS)
def test_equal_scores(counts: list[int]) -> None:
    """One number in memory has closed forms."""
    torch.manual_seed(0)
    equal = torch.zeros(1, dtype=torch.float64).expand(sum(counts))
    ranks = drawn(counts, equal)
    expected = expected_changes(log_assignment, equal, ranks)
    check(assignment_probability_changes(equal, ranks), expected, 1e-9)
    check(assignment_probability_changes(equal.contiguous(), ranks), expected, 5e-3)
    check(best_ordering_changes(equal, ranks), expected_changes(best_ordering, equal, ranks), 1e-9)
    check(
        Changes.of_log_orderings(ranks),
        expected_changes(log_number_of_orderings, equal, ranks),
        1e-9,
    )


@pytest.mark.parametrize("counts", [[190, 10], [10, 190], [60, 60, 80], [1, 198, 1]])
def test_many_elements(counts: list[int]) -> None:
    torch.manual_seed(0)
    log_s = torch.randn(200, dtype=torch.float64)
    ranks = drawn(counts, log_s)

    def log_mass(log_s: Tensor, Y: Tensor) -> float:
        return float(log_assignment_probability(log_s, Y, hard=True))

    check(
        assignment_probability_changes(log_s, ranks), expected_changes(log_mass, log_s, ranks), 5e-3
    )


def test_batches() -> None:
    """Every draw and every row of scores by itself, broadcast against each other."""
    torch.manual_seed(0)
    log_s = torch.randn(3, 1, 6, dtype=torch.float64)
    counts = torch.tensor([[2, 3, 1], [0, 6, 0]])
    scores = torch.randn(2, 6, dtype=torch.float64)
    for changes_of in (assignment_probability_changes, best_ordering_changes):
        together = changes_of(log_s, Ranks.of(counts, scores))
        for i, j in itertools.product(range(3), range(2)):
            alone = changes_of(log_s[i, 0], Ranks.of(counts[j], scores[j]))
            torch.testing.assert_close(together.up[i, j], alone.up, rtol=1e-2, atol=1e-2)
            torch.testing.assert_close(together.down[i, j], alone.down, rtol=1e-2, atol=1e-2)
            torch.testing.assert_close(
                together.moves[:, :, i, j], alone.moves, rtol=1e-2, atol=1e-2
            )
