# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The exchange formula against integrals over the perturbed score of one element."""

import math

import pytest
import torch

from pyro_drpm.ops.drawn_partition import partition_by_draw
from pyro_drpm.ops.ranks import Ranks

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
        Y = partition_by_draw(log_s, torch.zeros(2, num_subsets - 1), Ranks.of(sizes, drawn))
        flat = Y.flatten()
        value = flat @ matrix @ flat + flat @ vector
        (grad,) = torch.autograd.grad(value, log_s)
        estimate += (gumbel_cdf(high - a) - gumbel_cdf(low - a)) * grad[element].item()
        flow = [
            math.exp(-(x - a)) * gumbel_cdf(x - a) if math.isfinite(x) else 0.0 for x in (low, high)
        ]
        exact += (flow[0] - flow[1]) * value.item()
    assert estimate == pytest.approx(exact, rel=1e-9, abs=1e-10)


@pytest.mark.parametrize("gap", [0.0, 1e-300, 1e-12, 1.0, 2000.0])
def test_gradients_stay_finite_at_any_distance(gap: float) -> None:
    scores = torch.tensor([2 * gap, gap, 0.0], dtype=torch.float64)
    for log_s in (scores.clone(), torch.zeros(3, dtype=torch.float64), -scores):
        log_s = log_s.requires_grad_()
        Y = partition_by_draw(
            log_s, torch.zeros(2, 2), Ranks.of(torch.ones(3, dtype=torch.long), scores)
        )
        (grad,) = torch.autograd.grad((Y * torch.randn(3, 3)).sum(), log_s)
        assert grad.isfinite().all()
