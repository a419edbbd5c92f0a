# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Laws of the sizes that the tests are about, few enough counts to enumerate."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from scipy.stats import chi2
from torch import Tensor

from pyro_drpm import MultivariateFisherHypergeometric
from pyro_drpm.distributions import (
    DirichletMultinomialSizes,
    MultinomialSizes,
    PitmanYorSizes,
    PotentialSizes,
    SizeDistribution,
)

N, K = 5, 3
DRAWS = 20_000


class ConwayMaxwellSizes(SizeDistribution):
    """A law that a user might write."""

    def __init__(self, total_count: int, log_rate: Tensor, dispersion: Tensor) -> None:
        self.log_rate, self.dispersion = log_rate, dispersion
        super().__init__(total_count, log_rate.shape, like=log_rate)

    def log_factors(self, counts: Tensor) -> Tensor:
        log_rate = self.log_rate.double().unsqueeze(-1)
        return counts * log_rate - self.dispersion[..., None, None] * torch.lgamma(counts + 1)


def bounds(*values: int) -> Tensor:
    return torch.tensor(values)


def potential(w: Tensor, possible: tuple[int, ...] = tuple(range(N + 1))) -> Tensor:
    """Neither convex nor concave, and with gaps."""
    columns = [x * w - 0.3 * x * math.sin(3 * x) for x in range(N + 1)]
    impossible = torch.full_like(w, -math.inf)
    return torch.stack([c if x in possible else impossible for x, c in enumerate(columns)], -1)


LAWS: dict[str, Callable[[Tensor], SizeDistribution]] = {
    "fisher": lambda w: MultivariateFisherHypergeometric(N, log_omega=w),
    "fisher-bounds": lambda w: MultivariateFisherHypergeometric(
        N, log_omega=w, minimum=bounds(1, 0, 1), capacities=bounds(3, 4, 3)
    ),
    "multinomial": lambda w: MultinomialSizes(N, log_omega=w),
    "multinomial-bounds": lambda w: MultinomialSizes(
        N, log_omega=w, minimum=bounds(0, 1, 0), maximum=bounds(3, 3, 2)
    ),
    "dirichlet": lambda w: DirichletMultinomialSizes(N, w.exp() / 3),
    "dirichlet-bounds": lambda w: DirichletMultinomialSizes(
        N, w.exp() / 3, maximum=bounds(3, 3, 3)
    ),
    "potential": lambda w: PotentialSizes(potential(w)),
    "potential-gaps": lambda w: PotentialSizes(potential(w, (0, 1, 3, 4))),
    "restaurant": lambda w: PitmanYorSizes(N, K, w[0].exp(), w[1].sigmoid()),
    "restaurant-crowded": lambda w: PitmanYorSizes(N, K, w[0].exp() / 10, (w[1] + 2).sigmoid()),
    "own": lambda w: ConwayMaxwellSizes(N, w, w[0].exp()),
}
every_law = pytest.mark.parametrize("build", LAWS.values(), ids=LAWS)


def parameter(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(K, generator=generator, dtype=torch.float64).requires_grad_()


def possible_counts(law: SizeDistribution) -> tuple[Tensor, Tensor]:
    """All counts that have some mass, and their log-masses."""
    counts = law.enumerate_support()
    log_prob = law.log_prob(counts)
    some = log_prob.isfinite()
    return counts[some], log_prob[some]


def quadratic(size: int) -> Callable[[Tensor], Tensor]:
    generator = torch.Generator().manual_seed(size)
    a = torch.randn(size, size, generator=generator, dtype=torch.float64)
    b = torch.randn(size, generator=generator, dtype=torch.float64)
    return lambda x: ((x @ a) * x).sum(-1) + x @ b


def check_frequencies(found: Tensor, prob: Tensor) -> None:
    """Chi-square test of counts of outcomes, at the level 1e-4; rare ones are taken together."""
    expected = prob * found.sum()
    often = expected > 5
    assert (found[prob == 0] == 0).all()
    groups = [
        torch.cat([x[often], x[~often].sum().unsqueeze(0)]) for x in (found.to(expected), expected)
    ]
    kept = groups[1] > 1
    statistic = ((groups[0] - groups[1]).square() / groups[1])[kept].sum()
    assert statistic < chi2.ppf(1 - 1e-4, int(kept.sum()) - 1)
