# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Every law of the sizes against enumeration."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any, cast
from unittest import mock

import pyro
import pyro.distributions as dist
import pytest
import torch
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
from tests.distributions.size_laws import (
    DRAWS,
    LAWS,
    K,
    N,
    bounds,
    check_frequencies,
    every_law,
    parameter,
    possible_counts,
    potential,
    quadratic,
)


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


def test_potentials_are_interpolated_between_integers() -> None:
    w = parameter()
    law = PotentialSizes(potential(w))
    ends = [law.log_mass(torch.tensor(x).double()) for x in ([1.0, 2.0, 2.0], [2.0, 1.0, 2.0])]
    between = torch.tensor([1.25, 1.75, 2.0], dtype=torch.float64, requires_grad=True)
    result = law.log_mass(between)
    torch.testing.assert_close(result, 0.75 * ends[0] + 0.25 * ends[1])
    (slope,) = torch.autograd.grad(result, between)
    expected = potential(w)[:, 2] - potential(w)[:, 1]
    torch.testing.assert_close(slope[:2], expected[:2])
