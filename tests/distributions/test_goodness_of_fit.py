# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Chi-square tests of samples against the exact masses."""

import pytest
import torch
from scipy import stats
from torch import Tensor

from pyro_drpm import DRPM, MultivariateFisherHypergeometric, PlackettLuce
from pyro_drpm.distributions import TiedPlackettLuce

DRAWS = 40_000
# A correct sampler fails with this probability, an incorrect one all but surely.
LEVEL = 1e-3


def p_value(draws: Tensor, support: Tensor, log_prob: Tensor) -> float:
    """Of a chi-square test; values expected fewer than five times are pooled."""
    matches = (draws.flatten(1)[:, None] == support.flatten(1)).all(-1)
    assert matches.any(-1).all(), "a draw lies outside the support"
    observed, expected = matches.sum(0).double(), len(draws) * log_prob.double().exp()
    common = expected >= 5
    observed = torch.cat([observed[common], observed[~common].sum()[None]])
    expected = torch.cat([expected[common], expected[~common].sum()[None]])
    occupied = expected > 0
    result = stats.chisquare(
        observed[occupied].numpy(),
        (expected * observed.sum() / expected.sum())[occupied].numpy(),
    )
    return float(result.pvalue)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("weights", "n", "capacities"),
    [([1.0, 3.0, 0.5], 6, None), ([0.3, 2.0, 1.0, 5.0], 5, None), ([4.0, 1.0, 0.5], 6, [3, 4, 2])],
)
def test_sizes(weights: list[float], n: int, capacities: list[int] | None, seed: int) -> None:
    torch.manual_seed(seed)
    caps = None if capacities is None else torch.tensor(capacities)
    sizes = MultivariateFisherHypergeometric(n, torch.tensor(weights), capacities=caps)
    support = sizes.enumerate_support()
    assert p_value(sizes.sample((DRAWS,)), support, sizes.log_prob(support)) > LEVEL


@pytest.mark.parametrize("hard_mode", ["sample", "rsample"])
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("weights", "scores"),
    [
        ([1.0, 3.0, 0.5], [2.0, 0.3, 1.0, 5.0]),
        ([0.3, 2.0, 1.0, 5.0], [1.0, 0.2, 4.0]),
        ([2.0, 1.0, 1.0, 0.5], [0.5, 3.0, 1.0, 1.0]),
    ],
)
def test_partitions(weights: list[float], scores: list[float], seed: int, hard_mode: str) -> None:
    torch.manual_seed(seed)
    partition = DRPM(torch.tensor(weights), torch.tensor(scores).requires_grad_())
    draws = getattr(partition, hard_mode)((DRAWS,)).detach()
    support = partition.enumerate_support()
    assert p_value(draws, support, partition.log_prob(support).detach()) > LEVEL


def test_orderings() -> None:
    torch.manual_seed(0)
    orderings = PlackettLuce(torch.tensor([2.0, 0.3, 1.0, 5.0]))
    support = orderings.enumerate_support()
    assert p_value(orderings.sample((DRAWS,)), support, orderings.log_prob(support)) > LEVEL


def test_rankings_with_ties() -> None:
    torch.manual_seed(0)
    rankings = TiedPlackettLuce(torch.tensor([2.0, 0.3, 1.0, 5.0]), sizes=[2, 0, 1, 1])
    support = rankings.enumerate_support()
    assert p_value(rankings.sample((DRAWS,)), support, rankings.log_prob(support)) > LEVEL


def test_the_test_finds_a_wrong_law() -> None:
    torch.manual_seed(0)
    right = MultivariateFisherHypergeometric(6, torch.tensor([1.0, 3.0, 0.5]))
    wrong = MultivariateFisherHypergeometric(6, torch.tensor([1.0, 2.7, 0.5]))
    support = right.enumerate_support()
    assert p_value(wrong.sample((DRAWS,)), support, right.log_prob(support)) < LEVEL


def test_sizes_of_a_large_problem_have_the_exact_moments() -> None:
    torch.manual_seed(0)
    n, draws = 3000, 4000
    sizes = MultivariateFisherHypergeometric(n, torch.tensor([1.0, 3.0, 0.2], dtype=torch.float64))
    values = sizes.sample((draws,))
    standard_error = (sizes.variance / draws).sqrt()
    assert ((values.mean(0) - sizes.mean).abs() < 4 * standard_error).all()
    ratio = values.var(0) / sizes.variance
    assert ((ratio - 1).abs() < 4 * (2 / draws) ** 0.5).all()
