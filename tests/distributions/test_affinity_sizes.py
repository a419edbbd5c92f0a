# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""What affinities say about sizes, against the enumerated posterior."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pyro_drpm import DRPM, MultivariateFisherHypergeometric
from pyro_drpm.distributions import (
    DirichletMultinomialSizes,
    FixedSizes,
    MultinomialSizes,
    PitmanYorSizes,
    PotentialSizes,
    SizeDistribution,
    sizes_given_affinities,
)

N, K = 7, 3
EQUAL = torch.ones(K).double()
LAWS: dict[str, Callable[[], SizeDistribution]] = {
    "multinomial": lambda: MultinomialSizes(N, EQUAL),
    "fisher": lambda: MultivariateFisherHypergeometric(N, EQUAL),
    "uniform": lambda: DirichletMultinomialSizes(N, EQUAL),
    "nearly equal": lambda: PotentialSizes(
        -(torch.arange(N + 1).double() - N / K).square().expand(K, -1) / 2
    ),
    "bounds": lambda: MultinomialSizes(N, EQUAL, minimum=torch.tensor(1), maximum=torch.tensor(4)),
}


def affinities(scale: float, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(K, N, generator=generator, dtype=torch.float64)


def divergence(log_q: Tensor, log_p: Tensor) -> float:
    some = log_q > -torch.inf
    return (log_q[some].exp() * (log_q - log_p)[some]).sum().item()


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("name", LAWS)
def test_sizes_and_partition_are_close_to_the_posterior(name: str, scale: float) -> None:
    law = LAWS[name]()
    prior = DRPM(sizes=law, log_s=torch.zeros(N).double())
    every, counts = prior.enumerate_support(), law.enumerate_support()
    is_of = (every.sum(-1).unsqueeze(1) == counts).all(-1)
    of_sizes, of_partition, without = [], [], []
    for seed in range(7):
        log_w = affinities(scale, seed)
        log_joint = prior.log_prob(every) + (every * log_w).sum((-2, -1))
        posterior = log_joint.log_softmax(0)
        exact = torch.where(is_of, posterior.unsqueeze(1), -torch.inf).logsumexp(0)
        sizes = sizes_given_affinities(law, log_w)
        of_sizes.append(divergence(sizes.log_prob(counts), exact))
        guide = DRPM.from_affinities(log_w, sizes)
        of_partition.append(divergence(guide.log_prob(every), posterior))
        unaware = DRPM.from_affinities(log_w, law)
        without.append(divergence(unaware.log_prob(every), posterior))
    middle = [sorted(values)[3] for values in (of_sizes, of_partition, without)]
    assert middle[0] < 0.25 and middle[1] < 0.5
    assert scale < 1 or middle[1] < middle[2] / 2


@pytest.mark.parametrize("scale", [0.3, 2.0, 8.0])
def test_many_elements_against_the_exact_law_of_independent_choices(scale: float) -> None:
    n, generator = 300, torch.Generator().manual_seed(0)
    log_w = scale * torch.randn(2, n, generator=generator, dtype=torch.float64)
    exact = torch.ones(1).double()
    for p in log_w.softmax(0)[0]:
        exact = torch.nn.functional.pad(exact * (1 - p), (0, 1)) + torch.nn.functional.pad(
            exact * p, (1, 0)
        )
    # With equal weights a multinomial law makes elements independent.
    found = sizes_given_affinities(MultinomialSizes(n, torch.ones(2).double()), log_w)
    counts = torch.stack([torch.arange(n + 1.0), n - torch.arange(n + 1.0)], -1).double()
    assert (found.log_prob(counts).exp() - exact).abs().sum() / 2 < 0.02


def test_what_is_certain_has_no_noise() -> None:
    log_w = torch.full((K, N), -50.0).double()
    log_w[[0, 0, 1, 2, 2, 2, 2], range(N)] = 50.0
    sizes = sizes_given_affinities(MultinomialSizes(N, EQUAL), log_w)
    assert (sizes.sample((1000,)) == torch.tensor([2.0, 1.0, 4.0])).all()
    assert sizes.log_prob(torch.tensor([2.0, 1.0, 4.0]).double()).item() == pytest.approx(0)


def test_gradients_reach_the_affinities() -> None:
    log_w = affinities(1.0, 0).requires_grad_()
    value = torch.tensor([3.0, 2.0, 2.0]).double()

    def log_mass(log_w: Tensor) -> Tensor:
        return sizes_given_affinities(MultinomialSizes(N, EQUAL), log_w).log_prob(value)

    assert torch.autograd.gradcheck(log_mass, log_w)


def test_laws_that_know_or_have_no_factors() -> None:
    fixed = FixedSizes(torch.tensor([3.0, 2.0, 2.0]))
    assert sizes_given_affinities(fixed, affinities(1.0, 0)) is fixed
    with pytest.raises(ValueError, match="product form, but got PitmanYorSizes"):
        sizes_given_affinities(PitmanYorSizes(N, K, 1.0), affinities(1.0, 0))


@pytest.mark.parametrize("shape", [(K, N + 1), (K - 1, N), (N,)])
def test_affinities_that_do_not_fit(shape: tuple[int, ...]) -> None:
    law = MultinomialSizes(N, EQUAL)
    with pytest.raises(
        ValueError, match=r"expected log_w of shape \(\*batch, 3, 7\) for Multinomial"
    ):
        sizes_given_affinities(law, torch.zeros(shape))
    if len(shape) == 1:
        with pytest.raises(ValueError, match=r"log_w of shape \(\*batch, K, n\), but got \(7,\)"):
            DRPM.from_affinities(torch.zeros(shape), law)


def test_doubts_that_all_share_one_subset() -> None:
    """Subsets 1 and 2 get binomial numbers of their own, and the first has the rest."""
    doubt, each = 0.3, 20
    probs = torch.zeros(3, 3 * each).double()
    probs[1, :each] = probs[2, each : 2 * each] = doubt
    probs[0] = 1 - probs[1:].sum(0)
    law = MultinomialSizes(3 * each, torch.ones(3).double())
    found = sizes_given_affinities(law, (probs + 1e-300).log())
    counts = law.enumerate_support()
    binomial = torch.distributions.Binomial(each, torch.tensor(doubt).double())
    possible = (counts[:, 1:] <= each).all(-1)
    log_exact = binomial.log_prob(counts[:, 1:].clamp(max=each)).sum(-1)
    exact = torch.where(possible, log_exact.exp(), 0.0)
    assert exact.sum().item() == pytest.approx(1)
    assert (found.log_prob(counts).exp() - exact).abs().sum() / 2 < 0.08


def test_dtype_is_that_of_the_affinities() -> None:
    log_w = affinities(1.0, 0).float()
    sizes = sizes_given_affinities(MultinomialSizes(N, torch.ones(K)), log_w)
    assert DRPM.from_affinities(log_w, sizes).sample().dtype == torch.float32
