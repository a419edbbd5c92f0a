# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Clusters of items against all partitions, and their weights against what they have to satisfy."""

from __future__ import annotations

import itertools

import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from models.vc.memberships import best_partition, bounded_shares, fit_log_weights

N, K = 7, 3
BOUNDS = [
    ((0, 0, 0), (7, 7, 7)),
    ((3, 2, 2), (3, 2, 2)),
    ((2, 2, 2), (3, 3, 3)),
    ((0, 5, 0), (1, 7, 7)),
]


def affinities(seed: int, number: int = N) -> Tensor:
    return 3 * torch.randn(number, K, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("least", "most"), BOUNDS)
@pytest.mark.parametrize("seed", range(5))
def test_the_best_partition_is_the_best_of_all(
    seed: int, least: tuple[int, ...], most: tuple[int, ...]
) -> None:
    log_affinity = affinities(seed)
    every = torch.tensor(list(itertools.product(range(K), repeat=N)))
    sizes = torch.nn.functional.one_hot(every, K).sum(1)
    allowed = ((sizes >= torch.tensor(least)) & (sizes <= torch.tensor(most))).all(-1)
    totals = log_affinity.gather(1, every[allowed].mT).sum(0)
    found = best_partition(log_affinity, torch.tensor(least), torch.tensor(most))
    assert found.tolist() == every[allowed][totals.argmax()].tolist()


@pytest.mark.parametrize("seed", range(3))
def test_weights_without_bounds_are_most_likely(seed: int) -> None:
    log_affinity = affinities(seed, 200)
    zero, all_ = torch.zeros(K), torch.full((K,), 200.0)
    weights = fit_log_weights(log_affinity, zero, all_).exp()

    def loss(free: list[float]) -> float:
        log_weight = torch.tensor([*free, 0.0]).log_softmax(0)
        return -(log_affinity + log_weight).logsumexp(-1).sum().item()

    best = minimize(loss, [0.0] * (K - 1), method="Nelder-Mead", options={"xatol": 1e-5}).x
    torch.testing.assert_close(
        weights, torch.tensor([*best, 0.0]).softmax(0).float(), atol=2e-3, rtol=0
    )


@pytest.mark.parametrize("bounds", [((150, 30, 20), (150, 30, 20)), ((60, 60, 60), (90, 90, 90))])
def test_expected_sizes_are_within_bounds(bounds: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    log_affinity = affinities(0, 200)
    least, most = (torch.tensor(bound) for bound in bounds)
    log_weight = fit_log_weights(log_affinity, least, most)
    sizes = (log_affinity + log_weight).softmax(-1).sum(0)
    assert (sizes >= least - 0.01).all() and (sizes <= most + 0.01).all()


def test_a_cluster_that_is_to_be_empty_has_no_weight() -> None:
    sizes = torch.tensor([120, 80, 0])
    log_affinity = affinities(0, 200)
    weights = fit_log_weights(log_affinity, sizes, sizes)
    assert weights[2] == -torch.inf and weights[:2].isfinite().all()
    assert best_partition(log_affinity, sizes, sizes).bincount(minlength=3).tolist() == [120, 80, 0]


@pytest.mark.parametrize("seed", range(5))
def test_bounded_shares_are_the_most_likely_ones(seed: int) -> None:
    torch.manual_seed(seed)
    shares, bounds = torch.rand(K).softmax(0).double(), torch.rand(2, K).double() / K
    least, most = bounds[0], 1 / K + bounds[1]
    found = bounded_shares(shares, least, most)
    constraint = {"type": "eq", "fun": lambda p: p.sum() - 1}
    best = minimize(
        lambda p: -(shares.numpy() * torch.as_tensor(p).clamp(min=1e-12).log().numpy()).sum(),
        found.numpy() * 0 + 1 / K,
        bounds=list(zip(least.tolist(), most.tolist(), strict=True)),
        constraints=[constraint],
        tol=1e-12,
    )
    assert found.sum().item() == pytest.approx(1)
    torch.testing.assert_close(found, torch.as_tensor(best.x), atol=1e-4, rtol=0)
