# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

import pytest
import torch

from pyro_drpm.ops.sizes.fisher import fisher_tables
from pyro_drpm.ops.sizes.log_binomial import log_binomial
from pyro_drpm.ops.sizes.normalizer import log_normalizer
from tests.oracles import SIZE_CASES, log_size_normalizer, log_size_probabilities


@pytest.mark.parametrize("scale", [0.0, 1.0, 10.0, 100.0, 1000.0])
@pytest.mark.parametrize(("capacities", "n"), SIZE_CASES)
def test_against_enumeration(capacities: list[int], n: int, scale: float) -> None:
    torch.manual_seed(0)
    m = torch.tensor(capacities)
    log_omega = scale * torch.randn(len(capacities), dtype=torch.float64)
    masses = log_size_probabilities(log_omega, m, n)
    expected = log_size_normalizer(log_omega, masses, m)
    assert log_normalizer(log_omega, m, n).item() == pytest.approx(expected, rel=1e-13, abs=1e-13)


@pytest.mark.parametrize("num_subsets", [2, 10])
@pytest.mark.parametrize("n", [100, 10_000, 1_000_000])
def test_equal_weights_against_vandermonde(n: int, num_subsets: int) -> None:
    """With equal weights the normaliser counts the ways to take n of K n elements."""
    m = torch.full((num_subsets,), n)
    total = torch.tensor(n, dtype=torch.float64)
    expected = log_binomial(num_subsets * total, total)
    actual = log_normalizer(torch.full((num_subsets,), 2.0), m, n) - 2 * n
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("odds", [-60.0, -5.0, 0.5])
def test_two_subsets_of_a_large_problem(odds: float) -> None:
    n = 2_000
    x = torch.arange(n + 1, dtype=torch.float64)
    expected = (2 * log_binomial(torch.full_like(x, n), x) + odds * x).logsumexp(0)
    actual = log_normalizer(torch.tensor([odds, 0.0]), torch.tensor([n, n]), n)
    torch.testing.assert_close(actual, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("scale", [1.0, 10.0, 100.0])
def test_the_tables_know_the_same(scale: float) -> None:
    torch.manual_seed(0)
    log_omega = (scale * torch.randn(6, 10, dtype=torch.float64)).requires_grad_()
    m, n = torch.tensor([64, 64, 20, 64, 7, 64, 64, 1, 64, 64]), 64
    values = [log_normalizer(log_omega, m, n), fisher_tables(log_omega, m, n).log_normalizer()]
    torch.testing.assert_close(*values, rtol=1e-13, atol=1e-12)
    grads = [torch.autograd.grad(value.sum(), log_omega)[0] for value in values]
    torch.testing.assert_close(*grads, rtol=1e-11, atol=1e-11)


def test_derivatives() -> None:
    log_omega = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)

    def normaliser(x: torch.Tensor) -> torch.Tensor:
        return log_normalizer(x, torch.tensor([4, 2, 5, 5]), 5)

    assert torch.autograd.gradcheck(normaliser, log_omega)
    assert torch.autograd.gradgradcheck(normaliser, log_omega)


def test_gradients_where_a_probability_is_one_half() -> None:
    # Both odds are 1, and the characteristic function is 0 at the angle pi.
    log_omega = torch.zeros(2, requires_grad=True)
    (grad,) = torch.autograd.grad(log_normalizer(log_omega, torch.tensor([4, 4]), 4), log_omega)
    torch.testing.assert_close(grad, torch.tensor([2.0, 2.0]))
