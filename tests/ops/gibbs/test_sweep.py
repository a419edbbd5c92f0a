# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Sweeps against enumerated posteriors."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import chi2
from torch import Tensor

from pyro_drpm import DRPM, MultivariateFisherHypergeometric
from pyro_drpm.distributions import FixedSizes, PitmanYorSizes, SizeDistribution
from pyro_drpm.ops.gibbs.boundaries import rank_at_boundary
from pyro_drpm.ops.gibbs.size_factors import SizeFactors
from pyro_drpm.ops.gibbs.sweep import Sweep
from tests.distributions.size_laws import LAWS, K, N, every_law, parameter

DRAWS = 1200
Integers = NDArray[np.int64]


def noise(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


LOG_LIKELIHOOD = noise(N, K, seed=1)
SCORES = {
    "every subset": noise(K, N),
    "one per element": noise(1, N).expand(K, N),
    "far apart": 6 * noise(K, N),
    "alike": torch.zeros(K, N, dtype=torch.float64),
}


def rest_of(labels: Integers) -> float:
    """A term that is no sum over elements."""
    pairs = 0.7 * (labels[0] == labels[1]) - 1.1 * (labels[2] == labels[4])
    return float(pairs + 0.5 * (np.bincount(labels, minlength=K)[0] == 2))


class Posterior:
    """All partitions, their posterior, and sweeps that should leave it alone."""

    def __init__(self, law: SizeDistribution, log_s: Tensor, has_rest: bool = False) -> None:
        prior = DRPM(sizes=law, log_subset_s=log_s)
        every = prior.enumerate_support()
        self.labels = every.argmax(-2).numpy()
        log_p = prior.log_prob(every) + (every * LOG_LIKELIHOOD.T).sum((-1, -2))
        if has_rest:
            log_p = log_p + torch.tensor([rest_of(y) for y in self.labels])
        self.prob = log_p.softmax(0).detach().numpy()
        self.is_alike = bool((log_s == 0).all())
        factors = law.log_potential_table().detach()
        if self.is_alike:
            factors = factors + torch.lgamma(torch.arange(N + 1.0).double() + 1)
        self.sizes = SizeFactors.of(factors.numpy(), law.empty_last)
        self.log_s, self.rest = log_s.numpy(), rest_of if has_rest else None

    def begin(self, rng: np.random.Generator, labels: Integers) -> Sweep:
        log_s = None if self.is_alike else self.log_s
        return Sweep(rng, labels, LOG_LIKELIHOOD.numpy(), self.sizes, log_s, self.rest)

    def sweep(self, rng: np.random.Generator, labels: Integers) -> Integers:
        return self.begin(rng, labels).run()

    def code(self, labels: Integers) -> NDArray[np.int64]:
        """Where labels stand in the enumeration."""
        powers: NDArray[np.int64] = K ** np.arange(N)[::-1]
        return labels @ powers

    def is_invariant(
        self,
        sweep: Callable[[np.random.Generator, Integers], Integers],
        number: int = DRAWS,
    ) -> float:
        """p-value that exact draws are still exact after a sweep; independent of each other."""
        rng = np.random.default_rng(0)
        starts = self.labels[rng.choice(len(self.prob), number, p=self.prob)]
        codes = self.code(np.stack([sweep(rng, start.copy()) for start in starts]))
        observed = np.bincount(codes, minlength=len(self.prob))
        assert (codes != self.code(starts)).mean() > 0.05 * (1 - (self.prob**2).sum())
        assert observed[self.prob == 0].sum() == 0
        # Those that are expected less than five times count as one.
        common = np.flatnonzero(self.prob * number >= 5)
        expected = number * np.append(self.prob[common], 1 - self.prob[common].sum())
        counts = np.append(observed[common], number - observed[common].sum())
        if expected[-1] < 1:
            expected, counts = expected[:-1], counts[:-1]
        statistic = ((counts - expected) ** 2 / expected).sum()
        return float(chi2.sf(statistic, len(counts) - 1))


def fixed(w: Tensor) -> SizeDistribution:
    return FixedSizes(torch.tensor([2.0, 1.0, 2.0], dtype=torch.float64))


@every_law
def test_sweeps_leave_the_posterior_of_every_law(
    build: Callable[[Tensor], SizeDistribution],
) -> None:
    posterior = Posterior(build(parameter()), SCORES["every subset"])
    assert posterior.is_invariant(posterior.sweep) > 1e-3


@pytest.mark.parametrize("log_s", SCORES.values(), ids=SCORES)
@pytest.mark.parametrize("build", [LAWS["fisher"], LAWS["restaurant"], fixed])
def test_sweeps_leave_the_posterior_of_all_scores(
    build: Callable[[Tensor], SizeDistribution], log_s: Tensor
) -> None:
    posterior = Posterior(build(parameter()), log_s)
    assert posterior.is_invariant(posterior.sweep) > 1e-3


@pytest.mark.parametrize("name", ["restaurant", "restaurant-crowded"])
def test_tables_of_a_restaurant_in_any_order(name: str) -> None:
    law = LAWS[name](parameter())
    posterior = Posterior(law, SCORES["alike"])
    prior = DRPM(sizes=law, log_subset_s=SCORES["alike"]).log_prob(one_hot(posterior.labels))
    every = np.array(list(itertools.product(range(K), repeat=N)))
    shuffled = np.zeros(len(every))
    for order in itertools.permutations(range(K)):
        codes = posterior.code(np.array(order)[posterior.labels])
        shuffled[codes] += prior.detach().exp().numpy()
    prob = shuffled * np.exp(LOG_LIKELIHOOD.numpy()[np.arange(N), every].sum(1))
    posterior.labels, posterior.prob = every, prob / prob.sum()
    sizes = posterior.sizes.in_any_order()
    assert sizes is not None
    posterior.sizes = sizes
    assert posterior.is_invariant(posterior.sweep, 3 * DRAWS) > 1e-3


def one_hot(labels: Integers) -> Tensor:
    return torch.nn.functional.one_hot(torch.from_numpy(labels), K).mT.double()


@every_law
def test_only_restaurants_may_be_put_into_any_order(
    build: Callable[[Tensor], SizeDistribution],
) -> None:
    law = build(parameter())
    sizes = Posterior(law, SCORES["alike"]).sizes
    assert (sizes.in_any_order() is not None) == isinstance(law, PitmanYorSizes)


def test_subsets_that_open_and_close() -> None:
    """The last subsets are empty more often than not."""
    law = MultivariateFisherHypergeometric(N, torch.tensor([1.0, 0.3, 0.1]).double())
    posterior = Posterior(law, 2 * SCORES["every subset"])
    empty = posterior.prob[posterior.labels.max(1) < K - 1].sum()
    assert 0.3 < empty < 0.9
    assert posterior.is_invariant(posterior.sweep) > 1e-3
    rng = np.random.default_rng(0)
    labels = np.zeros(N, np.int64)
    for _ in range(300):
        sweep = posterior.begin(rng, labels)
        sweep.move_elements()
        assert sweep._full == pytest.approx(sweep._log_full(sweep._last))


def test_who_is_at_a_boundary_does_not_depend_on_where_it_is() -> None:
    def number_of_ways(members: NDArray[np.bool_], rank: int) -> int:
        ways = itertools.product((True, False), range(-2, 2))
        return sum(rank_at_boundary(members, *way) == rank for way in ways)

    reached = 0
    for members in map(np.array, itertools.product((True, False), repeat=6)):
        for rank in range(6):
            other = members.copy()
            other[rank] = not other[rank]
            assert number_of_ways(members, rank) == number_of_ways(other, rank)
            reached += number_of_ways(members, rank)
    assert reached > 0


def test_bounded_sizes_with_empty_subsets_last() -> None:
    """No law of the library has both; one of a user may."""
    log_factors = np.tile([0.0, 0.2, -0.4, 0.3, -np.inf, -np.inf], (K, 1))
    sizes = SizeFactors.of(log_factors, empty_last=True)
    every = np.array(list(itertools.product(range(K), repeat=N)))
    counts = (every[..., None] == np.arange(K)).sum(1)
    gap = ((counts[:, :-1] == 0) & (counts[:, 1:] > 0)).any(1)
    posterior = Posterior(LAWS["fisher"](parameter()), SCORES["alike"])
    terms = LOG_LIKELIHOOD.numpy()[np.arange(N), every].sum(1)
    log_p = np.where(gap, -np.inf, log_factors[np.arange(K), counts].sum(1)) + terms
    posterior.labels, posterior.sizes = every, sizes
    posterior.prob = np.exp(log_p) / np.exp(log_p).sum()
    assert posterior.is_invariant(posterior.sweep, 3 * DRAWS) > 1e-3


@pytest.mark.parametrize("scores", ["every subset", "alike"])
@pytest.mark.parametrize("build", [LAWS["fisher"], LAWS["restaurant"], fixed])
def test_sweeps_leave_the_posterior_of_terms_that_are_no_sums(
    build: Callable[[Tensor], SizeDistribution], scores: str
) -> None:
    posterior = Posterior(build(parameter()), SCORES[scores], has_rest=True)
    assert posterior.is_invariant(posterior.sweep) > 1e-3


@pytest.mark.parametrize("scores", ["every subset", "alike"])
@pytest.mark.parametrize(
    "build", [LAWS["fisher"], LAWS["potential-gaps"], LAWS["restaurant"], fixed]
)
def test_a_chain_finds_the_posterior(
    build: Callable[[Tensor], SizeDistribution], scores: str
) -> None:
    """At little more than the distance of as many independent draws."""
    posterior = Posterior(build(parameter()), SCORES[scores])
    rng = np.random.default_rng(0)
    start = posterior.labels[int(posterior.prob.argmin())]
    if posterior.prob.min() == 0:
        start = posterior.labels[int(np.where(posterior.prob > 0, posterior.prob, 2).argmin())]
    labels, codes = start.copy(), []
    for _ in range(DRAWS):
        labels = posterior.sweep(rng, labels)
        codes.append(int(posterior.code(labels)))
    share = np.bincount(codes, minlength=len(posterior.prob)) / DRAWS
    independent = rng.multinomial(DRAWS, posterior.prob, size=20) / DRAWS
    distance = np.abs(share - posterior.prob).sum() / 2
    assert distance < 2.5 * (np.abs(independent - posterior.prob).sum(1) / 2).mean()


@pytest.mark.parametrize(("n", "num_subsets"), [(1, 1), (4, 1), (1, 3)])
def test_small_partitions(n: int, num_subsets: int) -> None:
    sizes = SizeFactors.of(np.zeros((num_subsets, n + 1)), empty_last=False)
    log_likelihood = np.linspace(0, 1, n * num_subsets).reshape(n, num_subsets)
    rng, labels, seen = np.random.default_rng(0), np.zeros(n, np.int64), []
    for _ in range(1500):
        scores = np.ones((num_subsets, n))
        scores[:, 0] = 3.0
        labels = Sweep(rng, labels, log_likelihood, sizes, scores).run()
        seen.append(int(labels[0]))
    expected = np.exp(log_likelihood[0]) / np.exp(log_likelihood[0]).sum()
    share = np.bincount(seen, minlength=num_subsets) / len(seen)
    assert np.abs(share - expected).max() < 0.06


def test_scores_a_thousand_apart_in_their_logarithms() -> None:
    """Then the order of the elements is certain, and the sizes alone are random."""
    n = 6
    log_s = np.tile(-1000.0 * np.arange(n), (2, 1))
    sizes = SizeFactors.of(np.zeros((2, n + 1)), empty_last=False)
    rng = np.random.default_rng(0)
    first = np.tril(np.ones((n + 1, n), np.int64), -1)  # so many are in subset 0
    starts = 1 - first[rng.integers(n + 1, size=2100)]
    ends = [Sweep(rng, x.copy(), np.zeros((n, 2)), sizes, log_s).run() for x in starts]
    assert (np.diff(ends) >= 0).all()
    assert (np.stack(ends) != starts).any(-1).mean() > 0.1
    counts = np.bincount(n - np.sum(ends, 1), minlength=n + 1)
    assert chi2.sf(((counts - 300) ** 2 / 300).sum(), n) > 1e-3
