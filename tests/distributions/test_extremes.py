# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Properties that hold for any legal parameters, however extreme."""

from dataclasses import dataclass
from typing import Any

import pyro
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from pyro_drpm import DRPM, MultivariateFisherHypergeometric, PlackettLuce
from pyro_drpm.distributions.constraints import partition_matrix

RELATIVE = {torch.float32: 1e-4, torch.float64: 1e-9}

some_examples = settings(max_examples=60)
dtypes = st.sampled_from([torch.float32, torch.float64])


@dataclass(frozen=True)
class Problem:
    """Parameters and a partition that they allow."""

    log_omega: list[float]
    log_s: list[float]
    labels: list[int]
    capacities: list[int] | None = None

    def tensors(self, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        labels = torch.tensor(self.labels)
        Y = torch.nn.functional.one_hot(labels, len(self.log_omega)).mT.to(dtype)
        return torch.tensor(self.log_omega, dtype=dtype), torch.tensor(self.log_s, dtype=dtype), Y

    def build(self, log_omega: Tensor, log_s: Tensor, **options: Any) -> DRPM:
        capacities = None if self.capacities is None else torch.tensor(self.capacities)
        return DRPM(log_omega=log_omega, log_s=log_s, capacities=capacities, **options)


@st.composite
def problems(draw: st.DrawFn, log_omega: float = 1000.0, log_s: float = 1000.0) -> Problem:
    num_subsets, n = draw(st.integers(1, 6)), draw(st.integers(1, 12))

    def logs(limit: float, size: int) -> list[float]:
        one = st.floats(-limit, limit, width=32) | st.sampled_from([-limit, 0.0, limit])
        return draw(st.lists(one, min_size=size, max_size=size))

    labels = draw(st.lists(st.integers(0, num_subsets - 1), min_size=n, max_size=n))
    capacities = None
    if draw(st.booleans()):
        room = draw(st.lists(st.integers(0, 3), min_size=num_subsets, max_size=num_subsets))
        capacities = [labels.count(k) + more for k, more in enumerate(room)]
    return Problem(logs(log_omega, num_subsets), logs(log_s, n), labels, capacities)


def assert_at_most(low: Tensor, high: Tensor) -> None:
    """Up to round-off of the larger magnitude."""
    slack = RELATIVE[low.dtype] * (1 + torch.maximum(low.abs(), high.abs()))
    assert (low <= high + slack).all(), (low, high)


def assert_same(a: Tensor, b: Tensor, scale: float = 1.0) -> None:
    assert_at_most(a / scale, b / scale)
    assert_at_most(b / scale, a / scale)


@some_examples
@given(problems(), dtypes)
def test_log_prob_and_bounds(problem: Problem, dtype: torch.dtype) -> None:
    log_omega, log_s, Y = problem.tensors(dtype)
    d = problem.build(log_omega, log_s)
    exact = d.log_prob(Y)
    lower, upper = d.log_prob_bounds(Y)
    lower_again, tight = d.log_prob_bounds(Y, bound="tight")
    assert torch.equal(lower, lower_again)
    for value in (exact, lower, tight, upper, *d.log_prob_parts(Y)):
        assert value.isfinite()
    for low, high in ((lower, exact), (exact, tight), (tight, upper), (exact, exact * 0)):
        assert_at_most(low, high)


@some_examples
@given(problems(), dtypes)
def test_gradients_of_log_prob(problem: Problem, dtype: torch.dtype) -> None:
    leaves = [x.requires_grad_() for x in problem.tensors(dtype)]
    log_omega, log_s, Y = leaves
    d = problem.build(log_omega, log_s)
    for value in (d.log_prob(Y), *d.log_prob_bounds(Y), *d.log_prob_bounds(Y, bound="tight")):
        grads = torch.autograd.grad(
            value, leaves, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        assert all(grad.isfinite().all() for grad in grads)


@some_examples
@given(problems(log_omega=70.0, log_s=70.0), dtypes)
def test_weights_and_scores_far_apart(problem: Problem, dtype: torch.dtype) -> None:
    """Given as they are, from about 1e-30 to 1e30."""
    omega, s = (x.exp().requires_grad_() for x in problem.tensors(dtype)[:2])
    Y = problem.tensors(dtype)[2]
    capacities = None if problem.capacities is None else torch.tensor(problem.capacities)
    d = DRPM(omega, s, capacities=capacities)
    log_prob = d.log_prob(Y)
    assert log_prob.isfinite()
    assert_same(log_prob, problem.build(omega.log(), s.log()).log_prob(Y))
    # A gradient for a weight of 1e-30 is large itself: d log p / d omega = n / omega.
    for parameter, grad in zip((omega, s), torch.autograd.grad(log_prob, (omega, s)), strict=True):
        assert (grad * parameter).isfinite().all()


@some_examples
@given(problems(), dtypes, st.booleans(), st.sampled_from([1e-3, 0.5, 10.0]))
def test_samples_and_their_gradients(
    problem: Problem, dtype: torch.dtype, hard: bool, temperature: float
) -> None:
    leaves = [x.requires_grad_() for x in problem.tensors(dtype)[:2]]
    d = problem.build(*leaves, hard=hard, temperature=temperature)
    pyro.set_rng_seed(0)
    assert partition_matrix.check(d.sample((5,))).all()
    for value in (d.rsample((5,)), d.noiseless):
        assert d.support.check(value).all()
        weight = torch.arange(value.numel(), dtype=dtype).sin().reshape(value.shape)
        for grad in torch.autograd.grad(
            (value * weight).sum(),
            leaves,
            retain_graph=True,
            allow_unused=True,
            materialize_grads=True,
        ):
            assert grad.isfinite().all()


@some_examples
@given(problems(), dtypes)
def test_size_moments(problem: Problem, dtype: torch.dtype) -> None:
    log_omega, log_s, _ = problem.tensors(dtype)
    sizes = problem.build(log_omega, log_s).sizes
    n = len(problem.log_s)
    mean, variance, mode = sizes.mean, sizes.variance, sizes.mode
    assert_same(mean.sum(), torch.tensor(float(n), dtype=dtype))
    assert (mean >= 0).all() and (mean <= sizes.capacities * (1 + 1e-6)).all()
    assert (variance >= -1e-6 * n).all() and (variance <= n * n / 4 + 1e-6).all()
    assert sizes.support.check(mode)
    pyro.set_rng_seed(0)
    for other in sizes.sample((5,)):
        assert_at_most(sizes.log_prob(other), sizes.log_prob(mode))


@some_examples
@given(problems(log_omega=20.0, log_s=20.0), st.floats(-500, 500), st.sampled_from(["s", "omega"]))
def test_constants_added_to_logs_change_nothing(
    problem: Problem, constant: float, added_to: str
) -> None:
    log_omega, log_s, Y = problem.tensors(torch.float64)
    shifted = (
        (log_omega + constant, log_s) if added_to == "omega" else (log_omega, log_s + constant)
    )
    d, other = problem.build(log_omega, log_s), problem.build(*shifted)
    for a, b in zip(d.log_prob_parts(Y), other.log_prob_parts(Y), strict=True):
        assert_same(a, b, scale=1 + abs(constant))  # the constant costs that much precision
    for a, b in zip(d.log_prob_bounds(Y), other.log_prob_bounds(Y), strict=True):
        assert_same(a, b, scale=1 + abs(constant))


@some_examples
@given(problems(), dtypes, st.randoms(use_true_random=False))
def test_order_of_the_elements_is_arbitrary(
    problem: Problem, dtype: torch.dtype, random: Any
) -> None:
    log_omega, log_s, Y = problem.tensors(dtype)
    order = list(range(len(problem.log_s)))
    random.shuffle(order)
    d, other = problem.build(log_omega, log_s), problem.build(log_omega, log_s[order])
    assert_same(d.log_prob(Y), other.log_prob(Y[:, order]))
    for a, b in zip(d.log_prob_bounds(Y), other.log_prob_bounds(Y[:, order]), strict=True):
        assert_same(a, b)


@some_examples
@given(problems(), dtypes)
def test_one_subset_is_certain(problem: Problem, dtype: torch.dtype) -> None:
    _, log_s, _ = problem.tensors(dtype)
    everything = torch.ones(1, len(log_s), dtype=dtype)
    log_prob = DRPM(log_omega=torch.tensor([3.0], dtype=dtype), log_s=log_s).log_prob(everything)
    torch.testing.assert_close(log_prob, log_prob * 0, atol=RELATIVE[dtype], rtol=0)


@some_examples
@given(problems(), dtypes, st.permutations(range(6)))
def test_equal_weights_and_scores_ignore_labels(
    problem: Problem, dtype: torch.dtype, labels: list[int]
) -> None:
    log_omega, log_s, Y = problem.tensors(dtype)
    num_subsets = len(log_omega)
    order = [k for k in labels if k < num_subsets]
    d = DRPM(log_omega=log_omega[:1].expand(num_subsets), log_s=log_s[:1].expand_as(log_s))
    assert_same(d.log_prob(Y), d.log_prob(Y[order]), scale=1 + abs(problem.log_omega[0]))


@some_examples
@given(problems(), dtypes)
def test_equal_scores_give_any_assignment_of_the_sizes(
    problem: Problem, dtype: torch.dtype
) -> None:
    log_omega, log_s, Y = problem.tensors(dtype)
    d = problem.build(log_omega, log_s[:1].expand_as(log_s))
    counts = Y.sum(-1).double()
    log_ways = torch.lgamma(counts.sum() + 1) - torch.lgamma(counts + 1).sum()
    assert_same(d.log_prob_parts(Y)[1], -log_ways.to(dtype))


@some_examples
@given(problems(), dtypes)
def test_an_overwhelming_gap_decides(problem: Problem, dtype: torch.dtype) -> None:
    """Scores that fall by many nats from element to element leave one ordering."""
    log_omega, log_s, _ = problem.tensors(dtype)
    n = len(log_s)
    d = problem.build(log_omega, -80.0 * torch.arange(n, dtype=dtype))
    pyro.set_rng_seed(0)
    Y = d.sample()
    assert torch.equal(Y.argmax(0), Y.argmax(0).sort().values)
    assignment = d.log_prob_parts(Y)[1]
    torch.testing.assert_close(assignment, assignment * 0, atol=RELATIVE[dtype], rtol=0)


@some_examples
@given(problems(), dtypes)
@example(Problem([0.0], [1000.0, -1000.0], [0, 0]), torch.float32)
def test_orderings(problem: Problem, dtype: torch.dtype) -> None:
    _, log_s, _ = problem.tensors(dtype)
    d = PlackettLuce(log_s=log_s.requires_grad_())
    pyro.set_rng_seed(0)
    order = d.sample((5,))
    log_prob = d.log_prob(order)
    assert d.support.check(order).all()
    assert log_prob.isfinite().all()
    assert_at_most(log_prob, d.log_prob(d.mode))
    assert_at_most(log_prob, log_prob * 0)
    assert torch.autograd.grad(log_prob.sum(), log_s)[0].isfinite().all()


@pytest.mark.parametrize("n", [300, 3000])
@pytest.mark.parametrize("spread", [0.1, 30.0, 1000.0])
def test_many_elements(n: int, spread: float) -> None:
    """Beyond what the tables of small problems hold entirely."""
    generator = torch.Generator().manual_seed(n)
    logs = [
        (
            spread * (2 * torch.rand(size, generator=generator, dtype=torch.float64) - 1)
        ).requires_grad_()
        for size in (4, n)
    ]
    d = DRPM(log_omega=logs[0], log_s=logs[1])
    pyro.set_rng_seed(0)
    value = d.rsample((2,))
    assert d.support.check(value).all()
    log_prob = d.log_prob(value)
    lower, upper = d.log_prob_bounds(value, bound="tight")
    assert_at_most(lower, log_prob)
    assert_at_most(log_prob, upper)
    assert log_prob.isfinite().all()
    weight = torch.arange(4 * n, dtype=torch.float64).sin().reshape(4, n)
    loss = (log_prob + (value * weight).sum((-1, -2))).sum()
    assert all(grad.isfinite().all() for grad in torch.autograd.grad(loss, logs))
    sizes = MultivariateFisherHypergeometric(n, log_omega=logs[0])
    assert_same(sizes.mean.sum(), torch.tensor(float(n), dtype=torch.float64))
