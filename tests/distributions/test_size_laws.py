# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Every law of the sizes against enumeration, alone and in a DRPM."""

from __future__ import annotations

import itertools
import math
import pickle
from collections.abc import Callable
from typing import Any, cast
from unittest import mock

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from scipy.stats import chi2
from torch import Tensor
from torch.distributions import kl_divergence

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


@every_law
def test_mass_and_moments(build: Any) -> None:
    law = build(parameter())
    every = torch.tensor([c for c in itertools.product(range(N + 1), repeat=K) if sum(c) == N])
    counts, log_prob = possible_counts(law)
    prob = log_prob.exp()
    torch.testing.assert_close(prob.sum().item(), 1.0, rtol=0, atol=1e-13)
    # Nothing is left out of the support, and what is not in it has no mass.
    inside = law.support.check(every.double())
    torch.testing.assert_close(law.log_mass(every[inside]).exp().sum().item(), 1.0)
    assert (law.log_mass(every[~inside]) == -math.inf).all()
    mean = prob @ counts
    torch.testing.assert_close(law.mean, mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(law.variance, prob @ counts.square() - mean.square())
    torch.testing.assert_close(law.entropy(), -(prob * log_prob).sum(), rtol=1e-12, atol=1e-12)
    assert law.log_prob(law.mode) == log_prob.max()


@every_law
def test_conditionals_multiply_to_the_mass(build: Any) -> None:
    law = build(parameter().detach())
    counts, log_prob = possible_counts(law)
    tables = law.tables
    for count, log_mass in zip(counts.long(), log_prob, strict=True):
        remaining, product = N, 1.0
        for k in range(K - 1):
            conditional = tables.conditional(k, torch.tensor(remaining))
            product *= conditional[count[k] - tables.mass_start[k]].item()
            remaining -= int(count[k])
        assert product == pytest.approx(math.exp(log_mass), abs=1e-14)


@every_law
def test_gradients_of_masses_and_moments(build: Any) -> None:
    """Against finite differences."""
    w, h = parameter(), 1e-6
    counts, _ = possible_counts(build(w.detach()))
    count = counts[len(counts) // 2]
    values: dict[str, Callable[[Tensor], Tensor]] = {
        "log_prob": lambda w: build(w).log_prob(count),
        "mean": lambda w: build(w).mean[0],
        "entropy": lambda w: build(w).entropy(),
    }
    for value in values.values():
        (grad,) = torch.autograd.grad(value(w), w)
        steps = h * torch.eye(K, dtype=torch.float64)
        expected = [(value(w + step) - value(w - step)).item() / (2 * h) for step in steps]
        torch.testing.assert_close(grad.tolist(), expected, rtol=1e-6, atol=1e-7)


@every_law
def test_gradient_of_quadratic_functions_of_the_counts(build: Any) -> None:
    w = parameter()
    law = build(w)
    counts, log_prob = possible_counts(law)
    f = quadratic(K)
    (exact,) = torch.autograd.grad((log_prob.exp() * f(counts)).sum(), w)
    with mock.patch.object(type(law), "sample_counts", lambda *_: counts.long()):
        draws = build(w).rsample((len(counts),))
    assert torch.equal(draws, counts)
    (mean,) = torch.autograd.grad((log_prob.detach().exp() * f(draws)).sum(), w)
    torch.testing.assert_close(mean, exact, rtol=1e-9, atol=1e-9)


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


@every_law
def test_divergence_from_another_of_its_kind(build: Any) -> None:
    q, p = build(parameter()), build(parameter(1))
    counts, log_prob = possible_counts(q)
    expected = (log_prob.exp() * (log_prob - p.log_mass(counts))).sum()
    torch.testing.assert_close(kl_divergence(q, p), expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("build_p", LAWS.values(), ids=LAWS)
@every_law
def test_divergence_from_any_other(build: Any, build_p: Any) -> None:
    q, p = build(parameter()), build_p(parameter(1))
    counts, log_prob = possible_counts(q)
    expected = (log_prob.exp() * (log_prob - p.log_mass(counts))).sum()
    torch.testing.assert_close(kl_divergence(q, p), expected)


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


@every_law
def test_draws(build: Any) -> None:
    pyro.set_rng_seed(0)
    law = build(parameter())
    place = (N + 1) ** torch.arange(K)
    every = torch.tensor(list(itertools.product(range(N + 1), repeat=K)))
    possible = every[every.sum(-1) == N]
    found = (law.sample((DRAWS,)).long() @ place).bincount(minlength=(N + 1) ** K)
    prob = law.log_mass(possible.double()).exp()
    check_frequencies(found[possible @ place], prob)


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


def test_dirichlet_multinomial_sizes_are_those_of_pyro() -> None:
    concentration = torch.tensor([0.02, 1.0, 30.0], dtype=torch.float64)
    law = DirichletMultinomialSizes(8, concentration)
    counts = law.enumerate_support()
    expected = dist.DirichletMultinomial(concentration, 8).log_prob(counts)
    torch.testing.assert_close(law.log_prob(counts), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["fisher", "multinomial", "dirichlet"])
def test_bounds_are_conditions(kind: str) -> None:
    """The law without bounds, of which nothing is left but what lies between them."""
    w = parameter().detach()
    with_bounds, without = LAWS[f"{kind}-bounds"](w), LAWS[kind](w)
    if kind == "fisher":  # capacities are a part of its factors
        without = MultivariateFisherHypergeometric(N, log_omega=w, capacities=bounds(3, 4, 3))
    counts = with_bounds.enumerate_support()
    every = without.enumerate_support()
    inside = ((every >= with_bounds.minimum) & (every <= with_bounds.maximum)).all(-1)
    assert torch.equal(every[inside], counts)
    expected = without.log_prob(counts).log_softmax(0)
    torch.testing.assert_close(with_bounds.log_prob(counts), expected, rtol=1e-12, atol=1e-12)


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


class TestFixed:
    def test_the_sizes_have_all_mass(self) -> None:
        law = FixedSizes(torch.tensor([[2, 2, 1], [0, 5, 0]]))
        assert law.batch_shape == (2,) and law.total_count == N
        assert torch.equal(law.sample((3,)), law.sizes.expand(3, 2, K))
        assert torch.equal(law.mean, law.sizes) and (law.variance == 0).all()
        assert (law.entropy() == 0).all() and (law.log_prob(law.mode) == 0).all()
        with pytest.raises(ValueError, match="SubsetSizes"):
            law.log_prob(torch.tensor([1.0, 3.0, 1.0]))
        assert law.log_mass(torch.tensor([1.0, 3.0, 1.0])).isneginf().all()

    @pytest.mark.parametrize("options", [{}, {"gradient": "relaxed"}, {"hard": False}])
    def test_no_noise_reaches_them(self, options: Any) -> None:
        sizes = torch.tensor([1.0, 3.0, 1.0], dtype=torch.float64, requires_grad=True)
        log_s = torch.zeros(N, dtype=torch.float64, requires_grad=True)
        d = DRPM(sizes=FixedSizes(sizes), log_s=log_s, temperature=3.0, **options)

        def reparametrised() -> Tensor:
            with poutine.reparam(config={"Y": DRPMReparam()}):
                return pyro.sample("Y", d)

        for draw in (lambda: d.rsample((50,)), lambda: d.sample((50,)), reparametrised):
            Y = draw()
            torch.testing.assert_close(Y.detach().sum(-1), sizes.detach().expand(Y.shape[:-1]))
        sites = poutine.trace(reparametrised).get_trace().nodes
        assert "Y_sizes" not in sites and "Y_ordering" in sites
        torch.testing.assert_close(d.noiseless.detach().sum(-1), sizes.detach())

    @pytest.mark.parametrize("gradient", ["flow", "relaxed"])
    def test_gradients_are_means_of_moves_up_and_down(self, gradient: Any) -> None:
        sizes = torch.tensor([2.0, 2.0, 1.0], dtype=torch.float64, requires_grad=True)
        log_s = torch.linspace(1000, -1000, N, dtype=torch.float64)
        Y = DRPM(sizes=FixedSizes(sizes), log_s=log_s, gradient=gradient).rsample()
        value = torch.randn(K, N, dtype=torch.float64)
        (grad,) = torch.autograd.grad((Y * value).sum(), sizes)
        labels = [0, 0, 1, 1, 2]
        expected = torch.zeros(K, dtype=torch.float64)
        for boundary, k in ((2, 0), (4, 1)):
            moves = [
                value[k, boundary] - value[k + 1, boundary],
                value[k, boundary - 1] - value[k + 1, boundary - 1],
            ]
            assert labels[boundary] == k + 1 and labels[boundary - 1] == k
            expected[: k + 1] += sum(moves) / 2
        torch.testing.assert_close(grad, expected)

    def test_modes_of_another_law_with_gradients_of_its_means(self) -> None:
        w = parameter()
        law = MultivariateFisherHypergeometric(N, log_omega=w)
        fixed = FixedSizes.at_mode(law)
        assert torch.equal(fixed.sample(), law.mode)
        weight = torch.randn(K, dtype=torch.float64)
        (grad,) = torch.autograd.grad((fixed.rsample() * weight).sum(), w)
        (expected,) = torch.autograd.grad((law.mean * weight).sum(), w)
        torch.testing.assert_close(grad, expected)

    @pytest.mark.parametrize("build", LAWS.values(), ids=LAWS)
    def test_divergence(self, build: Any) -> None:
        p = build(parameter())
        q = FixedSizes(p.mode)
        torch.testing.assert_close(kl_divergence(q, p), -p.log_prob(p.mode))
        assert kl_divergence(q, q) == 0

    def test_loss_has_no_bias(self) -> None:
        """The sizes are right or wrong by what the model says of them, and do not move."""
        torch.manual_seed(0)
        log_s = torch.zeros(DRAWS, N, dtype=torch.float64, requires_grad=True)
        p = DRPM(torch.ones(K).double(), log_s=torch.linspace(1, -1, N).double())
        fixed = FixedSizes(torch.tensor([2.0, 2.0, 1.0], dtype=torch.float64))

        def model() -> None:
            with pyro.plate("draws", DRAWS):
                pyro.sample("Y", p)

        def guide() -> None:
            with pyro.plate("draws", DRAWS):
                pyro.sample("Y", DRPM(sizes=fixed, log_s=log_s))

        loss = TracePartition_ELBO().differentiable_loss(model, guide)
        (estimate,) = torch.autograd.grad(loss, log_s)
        leaf = torch.zeros(N, dtype=torch.float64, requires_grad=True)
        q = DRPM(sizes=fixed, log_s=leaf)
        every = q.enumerate_support()
        every = every[q.log_prob(every).isfinite()]
        log_q = q.log_prob(every)
        exact_loss = (log_q.exp() * (log_q - p.log_prob(every))).sum()
        (exact,) = torch.autograd.grad(exact_loss, leaf)
        assert loss.item() / DRAWS == pytest.approx(exact_loss.item(), abs=0.02)
        error = estimate.std(0) / DRAWS**0.5
        assert ((estimate.mean(0) - exact).abs() <= 4.5 * error + 2e-3 * exact.abs().max()).all()


LARGE: dict[str, Callable[[Tensor, int], SizeDistribution]] = {
    "fisher": lambda w, n: MultivariateFisherHypergeometric(n, log_omega=w),
    "multinomial": lambda w, n: MultinomialSizes(n, log_omega=w),
    "dirichlet": lambda w, n: DirichletMultinomialSizes(n, w.exp()),
    "fixed": lambda w, n: FixedSizes(torch.full((20,), n // 20), n),
    "bounds": lambda w, n: MultinomialSizes(n, log_omega=w, maximum=torch.full((20,), n // 4)),
    "potential": lambda w, n: PotentialSizes(w.unsqueeze(-1) * torch.linspace(0, 3, n + 1).sin()),
    "restaurant": lambda w, n: PitmanYorSizes(n, 20, w[0].exp(), w[1].sigmoid()),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("build", LARGE.values(), ids=LARGE)
def test_many_elements(build: Any, dtype: torch.dtype) -> None:
    """Means add up to ``n``, and draws have finite masses and gradients."""
    n = 2000
    pyro.set_rng_seed(0)
    w = torch.linspace(-1, 1, 20, dtype=dtype, requires_grad=True)
    law = build(w, n)
    assert law.mean.double().sum().item() == pytest.approx(n, rel=1e-6)
    draws = law.rsample((200,))
    assert law.support.check(draws).all() and law.log_prob(draws.detach()).isfinite().all()
    error = law.variance.sqrt() / 200**0.5
    assert ((draws.mean(0) - law.mean).abs() <= 5 * error + 1e-4 * law.mean).all()
    if draws.requires_grad:
        (grad,) = torch.autograd.grad((draws * torch.arange(20)).sum(), w)
        assert grad.isfinite().all() and grad.abs().sum() > 0


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


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: MultinomialSizes(0, torch.ones(2)), "positive integer total_count, got 0"),
        (lambda: MultinomialSizes(3), "either omega or log_omega, but got neither"),
        (
            lambda: MultinomialSizes(3, torch.ones(2), minimum=torch.tensor([2, 2])),
            r"add up to 3, but got minimum=\[2, 2\] and maximum=\[3, 3\]",
        ),
        (
            lambda: MultinomialSizes(3, torch.ones(2), maximum=torch.ones(2)),
            "maximum to be an integer tensor, but got torch.float32",
        ),
        (
            lambda: DirichletMultinomialSizes(3, torch.tensor([1.0, 0.0])),
            "concentration to be positive and finite, but got 0.0",
        ),
        (lambda: PotentialSizes(torch.zeros(4)), r"\(\*batch, K, n \+ 1\), but got torch.float32"),
        (lambda: PotentialSizes(torch.full((2, 3), torch.inf)), "below inf, but got inf"),
        (lambda: PitmanYorSizes(3, 0, 1.0), "positive integer max_subsets, got 0"),
        (lambda: PitmanYorSizes(3, 2, -0.5, 0.25), "got strength=-0.5 and discount=0.25"),
        (lambda: FixedSizes(torch.tensor(3.0)), r"shape \(\*batch, K\), but got \(\)"),
        (lambda: FixedSizes(torch.tensor([1.5, 1.5])), r"integers, but got \[1.5, 1.5\]"),
        (lambda: FixedSizes(torch.tensor([[1, 2], [2, 2]])), "add up to 3"),
        (
            lambda: DRPM(torch.ones(2), torch.ones(3), sizes=FixedSizes(torch.tensor([1, 2]))),
            "either sizes or weights",
        ),
        (
            lambda: DRPM(s=torch.ones(3), sizes=cast(Any, torch.ones(2))),
            "SizeDistribution, got tensor",
        ),
        (
            lambda: DRPM(s=torch.ones(4), sizes=FixedSizes(torch.tensor([1, 2]))),
            "total_count 3 and 4 scores",
        ),
        (lambda: SizeDistribution(3, (2,), like=torch.ones(2)).mean, "a method log_factors"),
    ],
)
def test_what_is_wrong_is_said(build: Callable[[], Any], message: str) -> None:
    with pytest.raises((ValueError, NotImplementedError), match=message):
        build()
