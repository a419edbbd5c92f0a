# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Rankings with ties against sums over all orders, closed forms and quadrature."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from torch import Tensor

from pyro_drpm import PlackettLuce
from pyro_drpm.distributions import TiedPlackettLuce


def over_all_orders(log_s: Tensor, value: Sequence[int]) -> Tensor:
    """The log-probability of the orders that agree with a ranking, added up."""
    present = [i for i, group in enumerate(value) if group >= 0]
    agreeing = [
        order
        for order in itertools.permutations(present)
        if all(value[i] <= value[j] for i, j in itertools.pairwise(order))
    ]
    terms = [
        sum(log_s[i] - log_s[list(order[at:])].logsumexp(0) for at, i in enumerate(order))
        for order in agreeing
    ]
    return torch.stack([torch.as_tensor(term) for term in terms]).logsumexp(0)


def log_prob(log_s: Tensor, value: Any) -> Tensor:
    return TiedPlackettLuce(log_s=log_s).log_prob(torch.as_tensor(value))


@st.composite
def rankings(draw: st.DrawFn) -> tuple[Tensor, list[int]]:
    n = draw(st.integers(1, 7))
    scale = draw(st.sampled_from([0.0, 1.0, 5.0, 30.0, 300.0]))
    standard = draw(st.lists(st.floats(-2, 2), min_size=n, max_size=n))
    value = draw(st.lists(st.integers(-1, 3), min_size=n, max_size=n))
    if max(value) < 0:
        value[0] = 0
    return scale * torch.tensor(standard, dtype=torch.float64), value


@settings(max_examples=150, deadline=None)
@given(rankings())
def test_sum_over_all_orders(ranking: tuple[Tensor, list[int]]) -> None:
    log_s, value = ranking
    expected = over_all_orders(log_s, value)
    torch.testing.assert_close(log_prob(log_s, value), expected, rtol=1e-10, atol=1e-10)


VALUES = [
    [0, 0, 1, 1, 2, -1],
    [0, 0, 0, 1, 1, 1],
    [-1, -1, 0, 0, 1, 1],
    [3, 3, 3, 3, 3, 3],
    [0, 1, 2, 3, 4, 5],
    [0, 7, 7, 7, 7, 2],
]


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("scale", [1.0, 8.0])
def test_first_and_second_derivatives(value: list[int], scale: float) -> None:
    torch.manual_seed(0)
    log_s = scale * torch.randn(6, dtype=torch.float64)

    def ours(x: Tensor) -> Tensor:
        return log_prob(x, value)

    def theirs(x: Tensor) -> Tensor:
        return over_all_orders(x, value)

    for derivative in (torch.autograd.functional.jacobian, torch.autograd.functional.hessian):
        torch.testing.assert_close(
            derivative(ours, log_s), derivative(theirs, log_s), rtol=1e-9, atol=1e-11
        )


def test_alone_they_are_an_ordering() -> None:
    torch.manual_seed(0)
    log_s = 3 * torch.randn(4, 200, dtype=torch.float64)
    order = PlackettLuce(log_s=log_s).sample()
    place = order.argsort(-1)
    torch.testing.assert_close(
        log_prob(log_s, place), PlackettLuce(log_s=log_s).log_prob(order), rtol=1e-12, atol=0
    )


@pytest.mark.parametrize("n", [1, 2, 10, 100_000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_scores_count_orders(n: int, dtype: torch.dtype) -> None:
    value = torch.arange(n) ** 2 % 17 % 5
    sizes = value.bincount().double()
    expected = torch.lgamma(sizes + 1).sum() - math.lgamma(n + 1)
    found = log_prob(torch.full((n,), 0.7, dtype=dtype), value)
    assert found.dtype == dtype
    torch.testing.assert_close(found, expected.to(dtype), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("spread", [0.0, 2.0, 20.0])
def test_one_large_group_by_quadrature(spread: float) -> None:
    rng = np.random.default_rng(0)
    s, rest = np.exp(spread * rng.standard_normal(300)), 0.02

    def log_integrand(v: float) -> float:  # with t = e^v
        rung = np.log(-np.expm1(-np.maximum(s * math.exp(v), 1e-300)))
        return math.log(rest) + v - rest * math.exp(v) + float(rung.sum())

    grid = np.linspace(-80, 20, 2001)
    top = max(grid, key=log_integrand)
    highest = log_integrand(top)
    ends = np.clip(top + np.linspace(-60, 10, 141), -80, 20)
    area = sum(
        quad(lambda v: math.exp(log_integrand(v) - highest), *pair, epsabs=1e-13)[0]
        for pair in itertools.pairwise(ends)
    )
    log_s = torch.from_numpy(np.log(np.append(s, rest)))
    found = log_prob(log_s, [0] * 300 + [1])
    assert float(found) == pytest.approx(highest + math.log(area), rel=1e-10, abs=1e-10)


def test_top_choices_are_products_of_shares() -> None:
    s = torch.tensor([5.0, 1.0, 2.0, 0.5], dtype=torch.float64)
    total = s.sum()
    expected = s[2] / total * s[0] / (total - s[2])
    torch.testing.assert_close(log_prob(s.log(), [1, 2, 0, 2]).exp(), expected)


def test_ragged_rows_are_rankings_of_those_who_are_present() -> None:
    torch.manual_seed(0)
    log_s = 2 * torch.randn(40, 9, dtype=torch.float64, requires_grad=True)
    value = torch.randint(-1, 4, (40, 9))
    value[0] = -1  # nobody at all
    value[1] = 2
    found = log_prob(log_s, value)
    apart = [
        log_prob(row[ranks >= 0], ranks[ranks >= 0]) if (ranks >= 0).any() else torch.zeros(())
        for row, ranks in zip(log_s, value, strict=True)
    ]
    torch.testing.assert_close(found, torch.stack([x.double() for x in apart]))
    (grad,) = torch.autograd.grad(found.sum(), log_s)
    assert (grad[value < 0] == 0).all() and grad.isfinite().all()


def test_batches_broadcast() -> None:
    torch.manual_seed(0)
    log_s, value = torch.randn(3, 1, 5, dtype=torch.float64), torch.randint(-1, 3, (6, 3, 4, 5))
    found = TiedPlackettLuce(log_s=log_s.expand(3, 4, 5)).log_prob(value)
    assert found.shape == (6, 3, 4)
    for at in np.ndindex(6, 3, 4):
        torch.testing.assert_close(found[at], log_prob(log_s[at[1], 0], value[at]))


def test_what_does_not_matter() -> None:
    torch.manual_seed(0)
    log_s, value = torch.randn(8, dtype=torch.float64), torch.tensor([0, 3, 1, 1, 3, 0, -1, 2])
    expected = log_prob(log_s, value)
    order = torch.randperm(8)
    torch.testing.assert_close(log_prob(log_s[order], value[order]), expected)
    torch.testing.assert_close(log_prob(log_s + 2.5, value), expected)
    gaps = torch.tensor([0, 70, 1, 1, 70, 0, -1, 8])
    torch.testing.assert_close(log_prob(log_s, gaps), expected)


@pytest.mark.parametrize("scale", [3.0, 300.0])
def test_float32_is_accurate_to_float32(scale: float) -> None:
    torch.manual_seed(0)
    log_s, value = scale * torch.randn(50, 30), torch.randint(-1, 6, (50, 30))
    double = log_prob(log_s.double(), value)
    torch.testing.assert_close(log_prob(log_s, value).double(), double, rtol=1e-5, atol=1e-5)


def test_a_million_elements() -> None:
    torch.manual_seed(0)
    log_s = torch.randn(1_000_000, requires_grad=True)
    found = log_prob(log_s, torch.randint(300_000, (1_000_000,)))
    (grad,) = torch.autograd.grad(found, log_s)
    assert found.isfinite() and grad.isfinite().all()
    # Scores that grow alike change nothing.
    assert abs(float(grad.double().sum())) < 1e-6 * float(grad.double().abs().sum())


def test_draws_of_those_who_are_present() -> None:
    torch.manual_seed(0)
    present = torch.tensor([[True, True, False, True], [False, True, True, False]])
    sizes = torch.tensor([[1, 2], [1, 1]])
    d = TiedPlackettLuce(torch.tensor([1.0, 2.0, 3.0, 4.0]), sizes=sizes, present=present)
    draws = d.sample((4000,))
    assert d.support.check(draws).all() and d.support.check(d.mode).all()
    assert torch.equal(draws < 0, ~present.expand(4000, 2, 4))
    first = (draws[:, 0] == 0).double().mean(0)
    expected = torch.tensor([1 / 7, 2 / 7, 0.0, 4 / 7], dtype=torch.float64)
    assert (first - expected).abs().max() < 4 * 0.5 / 4000**0.5
    torch.testing.assert_close(d.mode, torch.tensor([[1, 1, -1, 0], [-1, 1, 0, -1]]))


def test_rankings_of_other_sizes_have_no_mass() -> None:
    d = TiedPlackettLuce(torch.ones(3), sizes=[1, 2], validate_args=False)
    values = torch.tensor([[0, 1, 1], [0, 0, 1], [0, 1, 2], [-1, 0, 1]])
    assert d.log_prob(values).isfinite().tolist() == [True, False, False, False]


def test_the_mode_is_the_most_probable() -> None:
    torch.manual_seed(0)
    for _ in range(20):
        d = TiedPlackettLuce(log_s=2 * torch.randn(6), sizes=[1, 2, 0, 3])
        assert (d.log_prob(d.mode) >= d.log_prob(d.enumerate_support()) - 1e-5).all()


S = torch.ones(3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"sizes": [1, 1]},
            r"add up to the number of elements that are present, 3, but got \[1, 1",
        ),
        ({"sizes": [4, -1]}, r"not negative .* but got \[4, -1\]"),
        ({"sizes": torch.ones(2)}, r"integers of shape .* but got torch.float32 of shape \(2,\)"),
        ({"sizes": torch.tensor(3)}, r"integers of shape .* but got torch.int64 of shape \(\)"),
        ({"sizes": "abc"}, "integers of shape .* but got 'abc'"),
        ({"present": torch.ones(3)}, r"boolean and of shape \(\*batch, 3\), but got torch.float32"),
        ({"present": torch.ones(2).bool()}, r"but got torch.bool of shape \(2,\)"),
        ({"present": [True]}, r"but got \[True\]"),
        (
            {"sizes": torch.tensor([[3], [3]]), "present": torch.ones(3, 3).bool()},
            r"that broadcast, but got \(\), \(2,\), \(3,\)",
        ),
    ],
)
def test_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"(?s)TiedPlackettLuce: expected.*{message}"):
        TiedPlackettLuce(S, **options)


@pytest.mark.parametrize(
    "use", [lambda d: d.sample(), lambda d: d.mode, lambda d: d.enumerate_support()]
)
def test_no_law_without_sizes(use: Any) -> None:
    with pytest.raises(ValueError, match="expected sizes of the groups"):
        use(TiedPlackettLuce(S))


@pytest.mark.parametrize(
    ("d", "message"),
    [
        (TiedPlackettLuce(torch.ones(9), sizes=[9]), "at most 8 for enumeration, but got n=9"),
        (TiedPlackettLuce(S, sizes=torch.tensor([[1, 2], [2, 1]])), "the same sizes for the whole"),
        (
            TiedPlackettLuce(S, sizes=[2], present=torch.tensor([True, False, True])),
            "nobody absent",
        ),
    ],
)
def test_what_cannot_be_enumerated(d: TiedPlackettLuce, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        d.enumerate_support()


@pytest.mark.parametrize("value", [[0.5, 1, 0], [-2, 0, 1], [math.nan, 0, 1]])
def test_values(value: list[float]) -> None:
    with pytest.raises(ValueError, match="numbers of groups from 0, -1 for absent elements"):
        TiedPlackettLuce(S).log_prob(torch.tensor(value))
