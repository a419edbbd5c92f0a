# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.special import digamma
from torch import Tensor

from pyro_drpm.ops.assignment import integrals, quadrature
from pyro_drpm.ops.assignment import members as of_members
from pyro_drpm.ops.assignment.probability import (
    log_assignment_probability,
    log_subset_assignment_probability,
)
from pyro_drpm.ops.assignment.quadrature import Quadrature
from tests.oracles import log_assignment


def random_partition(num_subsets: int, n: int) -> torch.Tensor:
    return F.one_hot(torch.randint(num_subsets, (n,)), num_subsets).mT.double()


@pytest.mark.parametrize("hard", [True, False])
@pytest.mark.parametrize(
    ("scale", "tolerance"), [(0.0, 1e-12), (1.0, 1e-12), (5.0, 1e-12), (15.0, 1e-11), (300.0, 1e-9)]
)
def test_against_the_sum_over_orderings(scale: float, tolerance: float, hard: bool) -> None:
    torch.manual_seed(0)
    for _ in range(8):
        log_s, Y = scale * torch.randn(7, dtype=torch.float64), random_partition(3, 7)
        result = log_assignment_probability(log_s, Y, hard=hard).item()
        assert result == pytest.approx(log_assignment(log_s, Y), abs=tolerance, rel=tolerance)


def test_float32_is_accurate_to_float32() -> None:
    torch.manual_seed(0)
    log_s, Y = torch.randn(200, 7), torch.stack([random_partition(3, 7) for _ in range(200)])
    single = log_assignment_probability(log_s, Y.float(), hard=True)
    double = log_assignment_probability(log_s.double(), Y, hard=True)
    torch.testing.assert_close(single, double, rtol=1e-6, atol=1e-6)


def test_empty_subsets_and_an_empty_rest_count_nothing() -> None:
    log_s = torch.randn(4, dtype=torch.float64)
    Y = torch.zeros(5, 4, dtype=torch.float64)
    Y[2] = 1
    assert log_assignment_probability(log_s, Y, hard=True).item() == 0.0


def test_many_elements_against_more_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    log_s, Y = 3 * torch.randn(2000, dtype=torch.float64), random_partition(5, 2000)
    result = log_assignment_probability(log_s, Y, hard=True)
    fine = Quadrature(nodes=1000, drop=60.0)
    monkeypatch.setitem(integrals._QUADRATURE, torch.float64, fine)
    reference = log_assignment_probability(log_s, Y, hard=True)
    torch.testing.assert_close(result, reference, rtol=1e-13, atol=0)


@pytest.mark.parametrize("members", [1, 25, 49])
@pytest.mark.parametrize("spread", [0.0, 1.0, 10.0, 40.0])
@pytest.mark.parametrize("highest", [True, False])
@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-6), (torch.float64, 2e-12)])
def test_nodes_suffice_for_the_precision_of_the_dtype(
    members: int,
    spread: float,
    highest: bool,
    dtype: torch.dtype,
    error: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    # Scores that float32 can hold, in float64, so that nothing but the nodes makes a difference.
    log_s = (spread * torch.randn(50)).double().sort(descending=highest).values
    Y = torch.nn.functional.one_hot((torch.arange(50) >= members).long(), 2).mT.double()
    fine = Quadrature(nodes=1000, drop=60.0)
    coarse = integrals._QUADRATURE[dtype]
    results = []
    for rule in (coarse, fine):
        monkeypatch.setitem(integrals._QUADRATURE, torch.float64, rule)
        results.append(log_assignment_probability(log_s, Y, hard=True))
    round_off = 1e-14 * results[1].abs().item()
    torch.testing.assert_close(*results, rtol=0, atol=error + round_off)


@pytest.mark.parametrize("num_subsets", [2, 3])
def test_chunks_agree_with_the_whole(num_subsets: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    log_s = torch.randn(4, 30, dtype=torch.float64, requires_grad=True)
    Y = torch.stack([random_partition(num_subsets, 30) for _ in range(4)]).requires_grad_()
    whole = log_assignment_probability(log_s, Y, hard=True)
    whole_grads = torch.autograd.grad(whole.sum(), (log_s, Y))
    monkeypatch.setattr(of_members, "_CHUNK", 100)
    chunked = log_assignment_probability(log_s, Y, hard=True)
    torch.testing.assert_close(chunked, whole)
    torch.testing.assert_close(torch.autograd.grad(chunked.sum(), (log_s, Y)), whole_grads)


@pytest.mark.parametrize("hard", [True, False])
def test_derivatives_in_the_scores(hard: bool) -> None:
    torch.manual_seed(0)
    log_s = torch.randn(2, 5, dtype=torch.float64, requires_grad=True)
    Y = torch.stack([random_partition(3, 5) for _ in range(2)])

    def log_probability(x: torch.Tensor) -> torch.Tensor:
        return log_assignment_probability(x, Y, hard=hard)

    assert torch.autograd.gradcheck(log_probability, log_s)
    assert torch.autograd.gradgradcheck(log_probability, log_s)


def test_derivatives_between_partitions() -> None:
    torch.manual_seed(0)
    log_s = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    Y = torch.rand(2, 3, 4, dtype=torch.float64).requires_grad_()

    def log_probability(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return log_assignment_probability(x, y, hard=False)

    assert torch.autograd.gradcheck(log_probability, (log_s, Y))
    assert torch.autograd.gradgradcheck(log_probability, (log_s, Y))


def test_the_hard_path_has_the_same_gradients_as_the_general_one() -> None:
    torch.manual_seed(0)
    log_s = torch.randn(6, dtype=torch.float64, requires_grad=True)
    Y = random_partition(3, 6).requires_grad_()
    hard, soft = (
        torch.autograd.grad(log_assignment_probability(log_s, Y, hard=hard), (log_s, Y))
        for hard in (True, False)
    )
    torch.testing.assert_close(hard, soft)


def log_alike(members: int, rest: float) -> float:
    """``m`` clocks of rate 1 before one of rate ``R``: ``prod_j j / (j + R)``, factor by factor."""
    return -float(np.log1p(rest / np.arange(1.0, members + 1)).sum())


TOLERANCE = [(torch.float64, 1e-9), (torch.float32, 2e-5)]


@pytest.mark.parametrize("members", [1, 2, 30, 200, 1000, 30_000, 1_000_000])
@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCE)
def test_alike_scores_before_a_rest_of_any_size(
    members: int, dtype: torch.dtype, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_rest = torch.cat(
        [torch.arange(-40, 41) / 2.0, torch.tensor([-300.0, -100.0, 100.0, 300.0])]
    )
    # One column that counts as many times as there are members, of which it is known how many.
    if members > quadrature._MANY:
        monkeypatch.setattr(quadrature, "_MANY", 0)
    Y = torch.tensor([[members, 0], [0, 1]], dtype=dtype)
    log_s = torch.stack([torch.zeros_like(log_rest), log_rest], -1).to(dtype)
    result = log_assignment_probability(log_s, Y, hard=False)
    rests = log_rest.double().exp().tolist()
    expected = torch.tensor([log_alike(members, r) for r in rests], dtype=torch.float64)
    error = (result - expected).abs() / (1 + expected.abs())
    assert error.max() < tolerance


@pytest.mark.parametrize("scores", [(4.0, -4.0), (12.0, 0.0), (0.5, -0.5)])
@pytest.mark.parametrize("counts", [(180, 20), (20, 180), (100_000, 1000)])
@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCE)
def test_two_groups_against_a_plain_rule_of_many_nodes(
    scores: tuple[float, float],
    counts: tuple[int, int],
    dtype: torch.dtype,
    tolerance: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if sum(counts) > quadrature._MANY:
        monkeypatch.setattr(quadrature, "_MANY", 0)
    log_rest = torch.arange(-30.0, 31, 2, dtype=torch.float64)
    v = torch.linspace(-60, 40, 80_001, dtype=torch.float64)
    x = (torch.tensor(scores).double().unsqueeze(-1) + v).exp()
    log_rung = torch.where(x < 0.7, (-torch.expm1(-x)).log(), torch.log1p(-(-x).exp()))
    members = (torch.tensor(counts).double().unsqueeze(-1) * log_rung).sum(0)
    log_time = log_rest.unsqueeze(-1) + v
    step = float(v[1] - v[0])
    expected = (log_time - log_time.exp() + members).logsumexp(-1) + np.log(step)
    log_s = torch.cat([torch.tensor(scores).double().expand(31, 2), log_rest.unsqueeze(-1)], -1)
    Y = torch.tensor([[*counts, 0], [0, 0, 1]], dtype=dtype)
    result = log_assignment_probability(log_s.to(dtype), Y, hard=False)
    error = (result - expected).abs() / (1 + expected.abs())
    assert error.max() < tolerance


@pytest.mark.parametrize("hard", [True, False])
@pytest.mark.parametrize("num_subsets", [2, 3])
def test_float32_keeps_its_digits_over_many_elements(num_subsets: int, hard: bool) -> None:
    n, members = 100_000, 99_900
    log_s = torch.zeros(n, requires_grad=True)
    Y = torch.zeros(num_subsets, n)
    Y[0, :members], Y[-1, members:] = 1, 1
    result = log_assignment_probability(log_s, Y, hard=hard)
    expected = log_alike(members, n - members)
    assert result.item() == pytest.approx(expected, rel=2e-5)
    (grad,) = torch.autograd.grad(result, log_s)
    by_rest = (n - members) * (digamma(n - members + 1) - digamma(n + 1))
    assert grad[:members].double().sum().item() == pytest.approx(-by_rest, rel=2e-5)
    assert grad[members:].double().sum().item() == pytest.approx(by_rest, rel=2e-5)


def gradients(log_s: Tensor, Y: Tensor, hard: bool, **kwargs: Any) -> Tensor:
    inputs = tuple(x.detach().clone().requires_grad_() for x in (log_s, Y))
    value = log_assignment_probability(*inputs, hard=hard)
    found = torch.autograd.grad(value.sum(), inputs, **kwargs)
    return torch.cat([grad.flatten() for grad in found])


CASES = [
    (num_subsets, scale, hard)
    for num_subsets in (2, 3, 4)
    for scale in (0.0, 1.0, 20.0)
    for hard in (True, False)
]


def example(num_subsets: int, scale: float, hard: bool) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    log_s = scale * torch.randn(6, dtype=torch.float64)
    if hard:
        return log_s, F.one_hot(torch.arange(6) % num_subsets, num_subsets).mT.double()
    return log_s, torch.rand(num_subsets, 6, dtype=torch.float64).softmax(-2)


@pytest.mark.parametrize(("num_subsets", "scale", "hard"), CASES)
def test_a_graph_of_the_gradients_does_not_change_them(
    num_subsets: int, scale: float, hard: bool
) -> None:
    log_s, Y = example(num_subsets, scale, hard)
    torch.testing.assert_close(
        gradients(log_s, Y, hard, create_graph=True), gradients(log_s, Y, hard)
    )


@pytest.mark.parametrize(("num_subsets", "scale", "hard"), CASES)
def test_hessians_are_differences_of_gradients(num_subsets: int, scale: float, hard: bool) -> None:
    log_s, Y = example(num_subsets, scale, hard)
    at = torch.cat([log_s, Y.flatten()])

    def probability(x: Tensor) -> Tensor:
        return log_assignment_probability(x[:6], x[6:].view_as(Y), hard=hard)

    def slopes(x: Tensor) -> Tensor:
        return gradients(x[:6], x[6:].view_as(Y), hard)

    hessian = torch.autograd.functional.hessian(probability, at)
    size = 6 if hard else len(at)  # the entries of a hard partition cannot be changed a little
    for i in range(size):
        step = torch.zeros_like(at)
        step[i] = 1e-5
        difference = (slopes(at + step) - slopes(at - step)) / 2e-5
        torch.testing.assert_close(hessian[i, :size], difference[:size], rtol=1e-6, atol=1e-6)


# torch's own, when it first differentiates forward.
@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
@pytest.mark.parametrize("hard", [True, False])
@pytest.mark.parametrize("num_subsets", [1, 2, 3])
def test_transforms_of_functions(num_subsets: int, hard: bool) -> None:
    torch.manual_seed(0)
    log_s = torch.randn(3, 5, dtype=torch.float64)
    Y = torch.stack([random_partition(num_subsets, 5) for _ in range(3)])

    def probability(x: Tensor, y: Tensor) -> Tensor:
        return log_assignment_probability(x, y, hard=hard)

    each = [(x.clone().requires_grad_(), y) for x, y in zip(log_s, Y, strict=True)]
    grads = torch.stack([torch.autograd.grad(probability(x, y), x)[0] for x, y in each])
    hessians = torch.stack(
        [
            torch.autograd.functional.hessian(lambda x, y=y: probability(x, y), x.detach())
            for x, y in each
        ]
    )
    func = torch.func
    torch.testing.assert_close(func.vmap(probability)(log_s, Y), probability(log_s, Y))
    for transform in (func.grad, func.jacrev, func.jacfwd):
        torch.testing.assert_close(func.vmap(transform(probability))(log_s, Y), grads)
    torch.testing.assert_close(func.vmap(func.hessian(probability))(log_s, Y), hessians)


@pytest.mark.parametrize("hard", [True, False])
@pytest.mark.parametrize("num_subsets", [2, 3, 300])
def test_autocast_changes_nothing(num_subsets: int, hard: bool) -> None:
    torch.manual_seed(0)
    log_s = torch.randn(600)
    Y = random_partition(num_subsets, 600).float()
    expected = log_assignment_probability(log_s, Y, hard=hard), gradients(log_s, Y, hard)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = log_assignment_probability(log_s, Y, hard=hard), gradients(log_s, Y, hard)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


@pytest.mark.parametrize("num_subsets", [2, 3, 5])
@pytest.mark.parametrize("hard", [True, False])
@pytest.mark.parametrize("rows", [False, True])
def test_columns_of_zeros_are_absent(num_subsets: int, hard: bool, rows: bool) -> None:
    torch.manual_seed(0)
    shape = (num_subsets, 9) if rows else (9,)
    log_s = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    Y, present = random_partition(num_subsets, 9), torch.arange(9) % 3 != 1
    function = log_subset_assignment_probability if rows else log_assignment_probability
    found = function(log_s, Y * present, hard=hard)
    expected = function(log_s[..., present], Y[:, present], hard=hard)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    (grad,), (without,) = (torch.autograd.grad(x, log_s) for x in (found, expected))
    torch.testing.assert_close(grad, without, rtol=1e-10, atol=1e-12)


def test_equal_scores_and_columns_of_zeros() -> None:
    Y, present = random_partition(3, 9), torch.arange(9) % 3 != 1
    found = log_assignment_probability(torch.zeros(1).double().expand(9), Y * present, hard=True)
    expected = log_assignment_probability(torch.zeros(6).double(), Y[:, present], hard=False)
    torch.testing.assert_close(found, expected)
