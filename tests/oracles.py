# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Brute force for small problems, written from the definitions alone."""

from __future__ import annotations

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

SIZE_CASES = [
    ([3], 3),
    ([5], 3),
    ([3, 3], 3),
    ([4, 1, 2], 5),
    ([4, 4, 4], 4),
    ([2, 2, 2], 6),
    ([0, 3, 7], 4),
    ([6, 6, 6, 6], 6),
    ([1, 1, 1, 1, 1], 1),
]
"""Capacities and totals whose count vectors are few."""


def all_partitions(num_subsets: int, n: int) -> Tensor:
    """Every partition matrix, shape ``(K ** n, K, n)``, float64."""
    subsets = torch.tensor(list(itertools.product(range(num_subsets), repeat=n)))
    return F.one_hot(subsets, num_subsets).mT.double()


def log_size_weight(counts: Tensor, log_omega: Tensor, capacities: Tensor) -> float:
    """``sum_k log C(m_k, n_k) + n_k log omega_k`` of one count vector."""
    total = 0.0
    for count, weight, capacity in zip(
        counts.tolist(), log_omega.tolist(), capacities.tolist(), strict=True
    ):
        ways = math.comb(int(capacity), int(count))
        total += (math.log(ways) if ways else -math.inf) + count * weight
    return total


def log_size_probabilities(
    log_omega: Tensor, capacities: Tensor, n: int
) -> dict[tuple[int, ...], float]:
    """Log-masses of all count vectors, by summing over all of them."""
    ranges = [range(min(n, int(m)) + 1) for m in capacities.tolist()]
    vectors = [c for c in itertools.product(*ranges) if sum(c) == n]
    weights = torch.tensor(
        [log_size_weight(torch.tensor(c), log_omega, capacities) for c in vectors],
        dtype=torch.float64,
    )
    log_p0 = weights.logsumexp(0)
    return dict(zip(vectors, (weights - log_p0).tolist(), strict=True))


def log_size_normalizer(
    log_omega: Tensor, masses: dict[tuple[int, ...], float], m: Tensor
) -> float:
    """``log P_0`` from the masses of all count vectors, by the likeliest of them."""
    best = max(masses, key=lambda counts: masses[counts])
    return log_size_weight(torch.tensor(best), log_omega, m) - masses[best]


def log_ordering(log_s: Tensor, ordering: tuple[int, ...]) -> float:
    """Plackett-Luce log-probability, factor by factor."""
    values = log_s.tolist()
    rest, total = [values[i] for i in ordering], 0.0
    while rest:
        highest = max(rest)
        total += rest[0] - highest - math.log(sum(math.exp(x - highest) for x in rest))
        rest = rest[1:]
    return total


def orderings_of(Y: Tensor) -> list[tuple[int, ...]]:
    """All orderings that give a partition: the subsets in turn, each in any order."""
    members = [row.nonzero().flatten().tolist() for row in Y]
    products = itertools.product(*(itertools.permutations(m) for m in members))
    return [tuple(itertools.chain(*parts)) for parts in products]


def log_assignment(log_s: Tensor, Y: Tensor) -> float:
    """``log p(Y | sizes)`` as the sum over the orderings that give ``Y``."""
    terms = [log_ordering(log_s, ordering) for ordering in orderings_of(Y)]
    return float(torch.tensor(terms, dtype=torch.float64).logsumexp(0))
