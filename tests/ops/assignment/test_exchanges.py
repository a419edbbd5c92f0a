# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The exchange formula against integrals over the perturbed score of one element."""

import math

import pytest
import torch

from pyro_drpm.ops.assignment.drawn_partition import drawn_partition
from pyro_drpm.ops.assignment.exchanges import exchange_flow
from pyro_drpm.ops.assignment.ranks import Ranks

COUNTS = [[3, 2, 2], [0, 4, 3], [2, 0, 5], [7, 0, 0], [1, 1, 5], [6, 0, 1], [1, 5, 1]]


def gumbel_cdf(x: float) -> float:
    return math.exp(-math.exp(-x)) if x > -700 else 0.0


@pytest.mark.parametrize("counts", COUNTS)
@pytest.mark.parametrize("element", [0, 3])
def test_mean_over_one_score_is_the_exact_derivative(counts: list[int], element: int) -> None:
    torch.manual_seed(0)
    n, num_subsets = sum(counts), len(counts)
    sizes, size = torch.tensor(counts), n * num_subsets
    matrix, vector = torch.randn(size, size).double(), torch.randn(size).double()
    log_s = torch.randn(n, dtype=torch.float64, requires_grad=True)
    scores = log_s.detach() + torch.randn(n, dtype=torch.float64)
    others = sorted(torch.cat([scores[:element], scores[element + 1 :]]).tolist())
    edges = [-math.inf, *others, math.inf]
    a = log_s[element].item()

    estimate = exact = 0.0
    for low, high in zip(edges, edges[1:], strict=False):
        # Where the element ranks does not change between two of the others' scores.
        inside = low + 1 if high == math.inf else high - 1 if low == -math.inf else (low + high) / 2
        drawn = scores.clone()
        drawn[element] = inside
        Y = drawn_partition(log_s, torch.zeros(2, num_subsets - 1), Ranks.of(sizes, drawn))
        flat = Y.flatten()
        value = flat @ matrix @ flat + flat @ vector
        (grad,) = torch.autograd.grad(value, log_s)
        estimate += (gumbel_cdf(high - a) - gumbel_cdf(low - a)) * grad[element].item()
        flow = [
            math.exp(-(x - a)) * gumbel_cdf(x - a) if math.isfinite(x) else 0.0 for x in (low, high)
        ]
        exact += (flow[0] - flow[1]) * value.item()
    assert estimate == pytest.approx(exact, rel=1e-9, abs=1e-10)


@pytest.mark.parametrize("counts", COUNTS)
@pytest.mark.parametrize("element", [0, 3])
def test_differences_give_the_exact_derivative_of_any_function(
    counts: list[int], element: int
) -> None:
    """The function has an arbitrary value for every partition; no derivative of it exists."""
    torch.manual_seed(0)
    n, num_subsets = sum(counts), len(counts)
    place = torch.tensor([num_subsets**i for i in range(n)])
    table = torch.randn(num_subsets**n, dtype=torch.float64)
    log_s = torch.randn(n, dtype=torch.float64)
    scores = log_s + torch.randn(n, dtype=torch.float64)
    others = sorted(torch.cat([scores[:element], scores[element + 1 :]]).tolist())
    edges = [-math.inf, *others, math.inf]
    a = log_s[element].item()

    def f(ranks: Ranks) -> float:
        labels = torch.empty(n, dtype=torch.long).scatter_(0, ranks.element, ranks.subset)
        return table[(labels * place).sum()].item()

    def exchanged(ranks: Ranks, rank: int, other: int) -> float:
        if not 0 <= other < n:
            return 0.0
        swapped = ranks.element.clone()
        swapped[[rank, other]] = swapped[[other, rank]]
        return f(ranks._replace(element=swapped)) - f(ranks)

    estimate = exact = 0.0
    for low, high in zip(edges, edges[1:], strict=False):
        inside = low + 1 if high == math.inf else high - 1 if low == -math.inf else (low + high) / 2
        drawn = scores.clone()
        drawn[element] = inside
        ranks = Ranks.of(torch.tensor(counts), drawn)
        rank = int((ranks.element == element).nonzero())
        k = int(ranks.subset[rank])
        up, down = torch.zeros(2, n, dtype=torch.float64)
        up[rank] = exchanged(ranks, rank, int(ranks.start[k]) - 1)
        down[rank] = exchanged(ranks, rank, int(ranks.end[k]))
        flow = exchange_flow(up, down, ranks, log_s[ranks.element])[rank].item()
        estimate += (gumbel_cdf(high - a) - gumbel_cdf(low - a)) * flow
        rates = [
            math.exp(-(x - a)) * gumbel_cdf(x - a) if math.isfinite(x) else 0.0 for x in (low, high)
        ]
        exact += (rates[0] - rates[1]) * f(ranks)
    assert estimate == pytest.approx(exact, rel=1e-9, abs=1e-10)


def test_weights_of_differences_do_not_explode_in_a_narrow_subset() -> None:
    """Where half of each flow is taken on either side, they are as large as the inverse gap."""
    gap = 1e-9
    scores = torch.tensor([gap, 0.0, -gap], dtype=torch.float64)
    ranks = Ranks.of(torch.ones(3, dtype=torch.long), scores)
    changes = torch.ones(3, dtype=torch.float64)
    flow = exchange_flow(changes, -changes, ranks, torch.zeros(3, dtype=torch.float64))
    assert flow.abs().max() < 2


@pytest.mark.parametrize("gap", [0.0, 1e-300, 1e-12, 1.0, 2000.0])
def test_gradients_stay_finite_at_any_distance(gap: float) -> None:
    scores = torch.tensor([2 * gap, gap, 0.0], dtype=torch.float64)
    for log_s in (scores.clone(), torch.zeros(3, dtype=torch.float64), -scores):
        log_s = log_s.requires_grad_()
        Y = drawn_partition(
            log_s, torch.zeros(2, 2), Ranks.of(torch.ones(3, dtype=torch.long), scores)
        )
        (grad,) = torch.autograd.grad((Y * torch.randn(3, 3)).sum(), log_s)
        assert grad.isfinite().all()
        flow = exchange_flow(
            torch.ones(3).double(),
            torch.ones(3).double(),
            Ranks.of(torch.ones(3, dtype=torch.long), scores),
            log_s.detach(),
        )
        assert flow.isfinite().all()
