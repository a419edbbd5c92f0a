# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Partitions with every law of the sizes against enumeration."""

from __future__ import annotations

import math
import pickle
from typing import Any

import pyro
import pytest
import torch
from pyro import poutine
from torch import Tensor

from pyro_drpm import DRPM, MultivariateFisherHypergeometric
from pyro_drpm.distributions import (
    DirichletMultinomialSizes,
    FixedSizes,
    MultinomialSizes,
    PitmanYorSizes,
    PotentialSizes,
    SizeDistribution,
)
from pyro_drpm.infer import DRPMReparam, TracePartition_ELBO, temperature
from pyro_drpm.ops.assignment.ranks import Ranks
from pyro_drpm.partitions.labels import canonical
from tests.distributions.size_laws import (
    DRAWS,
    LAWS,
    ConwayMaxwellSizes,
    K,
    N,
    check_frequencies,
    every_law,
    parameter,
    possible_counts,
    quadratic,
)


@every_law
def test_gradient_of_quadratic_functions_of_the_partition(build: Any) -> None:
    """For a given ordering, with all sizes in the place of draws."""
    w = parameter()
    law = build(w)
    counts, log_prob = possible_counts(law)
    scores = torch.randn(N, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    partition = DRPM(sizes=law, log_s=scores)
    draws = partition._value(Ranks.of(counts.long(), scores.expand(len(counts), N)))
    assert torch.equal(draws.detach().sum(-1), counts)
    f = quadratic(K * N)
    values = f(draws.flatten(-2))
    (exact,) = torch.autograd.grad((log_prob.exp() * values.detach()).sum(), w, retain_graph=True)
    (mean,) = torch.autograd.grad((log_prob.detach().exp() * values).sum(), w)
    torch.testing.assert_close(mean, exact, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("gradient", ["flow", "relaxed"])
@every_law
def test_draws_of_partitions(build: Any, gradient: Any) -> None:
    pyro.set_rng_seed(0)
    log_s = torch.linspace(1, -1, N, dtype=torch.float64)
    partition = DRPM(sizes=build(parameter()), log_s=log_s, gradient=gradient)
    every = partition.enumerate_support()
    prob = partition.log_prob(every).exp()
    torch.testing.assert_close(prob.sum().item(), 1.0)
    place = K ** torch.arange(N - 1, -1, -1)
    found = (partition.rsample((DRAWS,)).argmax(-2) @ place).bincount(minlength=K**N)
    check_frequencies(found, prob)


@every_law
def test_most_probable_partition(build: Any) -> None:
    for seed in range(10):
        log_s = 2 * torch.randn(N, generator=torch.Generator().manual_seed(seed)).double()
        partition = DRPM(sizes=build(parameter(seed)), log_s=log_s)
        highest = partition.log_prob(partition.enumerate_support()).max()
        torch.testing.assert_close(partition.log_prob(partition.mode), highest)


@every_law
def test_terms_of_the_loss_have_no_bias(build: Any) -> None:
    """Guide and model with the same kind of sizes, means over draws against enumeration."""
    torch.manual_seed(0)
    w = parameter().detach().expand(DRAWS, K).clone().requires_grad_()
    s = torch.linspace(1, -1, N, dtype=torch.float64).expand(DRAWS, N).clone().requires_grad_()
    p = DRPM(sizes=build(parameter(1).detach()), log_s=torch.linspace(-1, 1, N).double())
    if build in (LAWS["restaurant"], LAWS["restaurant-crowded"]):
        strength = build(torch.zeros(K))._strength

        def batched(w: Tensor) -> SizeDistribution:
            crowded = strength < 0.5
            scale, shift = (0.1, 2.0) if crowded else (1.0, 0.0)
            return PitmanYorSizes(N, K, scale * w[..., 0].exp(), (w[..., 1] + shift).sigmoid())
    elif build is LAWS["own"]:

        def batched(w: Tensor) -> SizeDistribution:
            return ConwayMaxwellSizes(N, w, w[..., 0].exp())
    else:
        batched = build

    def model() -> None:
        with pyro.plate("draws", DRAWS):
            pyro.sample("Y", p)

    def guide() -> None:
        with pyro.plate("draws", DRAWS):
            pyro.sample("Y", DRPM(sizes=batched(w), log_s=s))

    loss = TracePartition_ELBO().differentiable_loss(model, guide)
    estimates = torch.autograd.grad(loss, (w, s))
    leaves = [x[0].detach().clone().requires_grad_() for x in (w, s)]
    q = DRPM(sizes=build(leaves[0]), log_s=leaves[1])
    every = q.enumerate_support()
    every = every[q.log_prob(every).isfinite()]
    log_q = q.log_prob(every)
    exact = torch.autograd.grad((log_q.exp() * (log_q - p.log_prob(every))).sum(), leaves)
    for estimate, x in zip(estimates, exact, strict=True):
        error = estimate.std(0) / DRAWS**0.5
        assert ((estimate.mean(0) - x).abs() <= 4.5 * error + 2e-3 * x.abs().max()).all()


@every_law
def test_what_a_drpm_does_with_any_law(build: Any) -> None:
    log_s = torch.linspace(1, -1, N, dtype=torch.float64)
    w = parameter()
    d = DRPM(sizes=build(w), log_s=log_s)
    Y = d.sample()
    shapes = {"sizes": torch.Size((2, K)), "log_s": torch.Size((2, N))}
    assert DRPM.infer_shapes(**shapes) == (torch.Size([2]), torch.Size([K, N]))
    assert f"sizes: {d.sizes}" in repr(d)
    for other in (d.expand([4]), pickle.loads(pickle.dumps(d)), d.with_temperature(0.1)):
        assert type(other.sizes) is type(d.sizes)
        torch.testing.assert_close(other.log_prob(Y), d.log_prob(Y).expand(other.batch_shape))
        assert other.sample().shape == other.batch_shape + (K, N)
    with temperature(0.3):
        trace: Any = poutine.trace(lambda: pyro.sample("Y", d)).get_trace()
    assert trace.nodes["Y"]["fn"].temperature == 0.3
    pyro.set_rng_seed(0)
    reparametrised = poutine.reparam(lambda: pyro.sample("Y", d), config={"Y": DRPMReparam()})
    counts = torch.stack([reparametrised().sum(-1) for _ in range(300)])
    assert d.sizes.support.check(counts.round()).all()
    (grad,) = torch.autograd.grad((reparametrised() * torch.randn(K, N)).sum(), w)
    assert grad.isfinite().all()


def test_multinomial_sizes_and_equal_scores_are_independent_categoricals() -> None:
    omega = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    partition = DRPM(sizes=MultinomialSizes(6, omega), log_s=torch.zeros(6).double())
    every = partition.enumerate_support()
    expected = (every.mT @ (omega / omega.sum())).log().sum(-1)
    torch.testing.assert_close(partition.log_prob(every), expected, rtol=1e-12, atol=1e-12)


def log_eppf(sizes: list[int], strength: float, discount: float) -> float:
    """Seat one customer after the other (Pitman 2006, section 3.2)."""
    log_prob, seated, tables = 0.0, 0, 0
    for size in sizes:
        if seated:
            log_prob += math.log((strength + tables * discount) / (strength + seated))
        seated, tables = seated + 1, tables + 1
        for already in range(1, size):
            log_prob += math.log((already - discount) / (strength + seated))
            seated += 1
    return log_prob


@pytest.mark.parametrize(
    ("strength", "discount"), [(1.0, 0.0), (0.3, 0.5), (-0.2, 0.4), (40.0, 0.9), (1e6, 0.0)]
)
def test_pitman_yor_sizes_and_equal_scores_are_a_chinese_restaurant(
    strength: float, discount: float
) -> None:
    n = 5
    s, d = (torch.tensor(x, dtype=torch.float64) for x in (strength, discount))
    partition = DRPM(sizes=PitmanYorSizes(n, n, s, d), log_s=torch.zeros(n).double())
    every = partition.enumerate_support()
    log_prob = partition.log_prob(every)
    by_labels: dict[tuple[int, ...], float] = {}
    for labels, log_mass in zip(
        canonical(every.argmax(-2)).tolist(), log_prob.tolist(), strict=True
    ):
        by_labels[tuple(labels)] = by_labels.get(tuple(labels), 0.0) + math.exp(log_mass)
    assert len(by_labels) == 52  # Bell's number
    for labels, prob in by_labels.items():
        sizes = [labels.count(label) for label in set(labels)]
        assert prob == pytest.approx(math.exp(log_eppf(sizes, strength, discount)), abs=1e-12)


def test_number_of_subsets_of_a_restaurant_does_not_depend_on_the_scores() -> None:
    law = PitmanYorSizes(5, 4, torch.tensor(0.7).double(), torch.tensor(0.3).double())
    numbers = []
    for log_s in (torch.zeros(5).double(), 3 * torch.randn(5).double()):
        partition = DRPM(sizes=law, log_s=log_s)
        every = partition.enumerate_support()
        number = (every.sum(-1) > 0).sum(-1)
        prob = partition.log_prob(every).exp()
        numbers.append(torch.stack([prob[number == k].sum() for k in range(1, 5)]))
    torch.testing.assert_close(*numbers, rtol=0, atol=1e-14)


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("num_subsets", [1, 2])
def test_few_elements_and_subsets(n: int, num_subsets: int) -> None:
    w = torch.linspace(-1, 1, num_subsets, dtype=torch.float64)
    laws = [
        MultivariateFisherHypergeometric(n, log_omega=w, minimum=torch.zeros(num_subsets).long()),
        MultinomialSizes(n, log_omega=w),
        DirichletMultinomialSizes(n, w.exp()),
        PotentialSizes(torch.zeros(num_subsets, n + 1, dtype=torch.float64)),
        PitmanYorSizes(n, num_subsets, torch.tensor(1.0, dtype=torch.float64)),
        FixedSizes(torch.tensor([n] + [0] * (num_subsets - 1)).double()),
    ]
    for law in laws:
        partition = DRPM(sizes=law, log_s=torch.zeros(n, dtype=torch.float64))
        every = partition.enumerate_support()
        prob = partition.log_prob(every).exp()
        torch.testing.assert_close(prob.sum().item(), 1.0)
        assert partition.log_prob(partition.rsample((20,))).isfinite().all()
        assert partition.log_prob(partition.mode).exp() == pytest.approx(prob.max().item())
