# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

import pytest
import torch

from pyro_drpm.ops.sizes.fisher import fisher_tables
from pyro_drpm.ops.sizes.moments import size_marginals
from tests.oracles import log_size_probabilities


@pytest.mark.parametrize("scale", [0.0, 1.0, 20.0])
@pytest.mark.parametrize(
    ("capacities", "n"), [([5], 5), ([7], 3), ([4, 4], 4), ([4, 1, 2], 5), ([6, 2, 6, 6], 6)]
)
def test_against_enumeration(capacities: list[int], n: int, scale: float) -> None:
    torch.manual_seed(0)
    m = torch.tensor(capacities)
    log_omega = scale * torch.randn(len(capacities), dtype=torch.float64)
    masses = log_size_probabilities(log_omega, m, n)
    prob = torch.tensor(list(masses.values()), dtype=torch.float64).exp().unsqueeze(-1)
    counts = torch.tensor(list(masses), dtype=torch.float64)
    mean, variance = size_marginals(fisher_tables(log_omega, m, n)).moments()
    expected = (prob * counts).sum(0)
    # Relative accuracy, however small the mean.
    torch.testing.assert_close(mean, expected, rtol=1e-11, atol=0)
    torch.testing.assert_close(
        variance, (prob * (counts - expected).square()).sum(0), rtol=1e-11, atol=1e-13
    )


def test_gradients_of_means_are_covariances() -> None:
    log_omega = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)

    def moments(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return size_marginals(fisher_tables(x, torch.tensor([4, 2, 5, 5]), 5)).moments()

    assert torch.autograd.gradcheck(moments, log_omega)


def test_windows_of_a_large_problem() -> None:
    n, m = 3000, torch.full((5,), 3000)
    log_omega = torch.linspace(-4, 2, 5, dtype=torch.float64).requires_grad_()
    law = fisher_tables(log_omega, m, n)
    assert law.mass.shape[-1] < n + 1, "the window should be narrower than the support"
    mean, variance = size_marginals(law).moments()
    (expected,) = torch.autograd.grad(law.log_normalizer(), log_omega, create_graph=True)
    torch.testing.assert_close(mean, expected, rtol=1e-10, atol=0)
    for k in range(5):
        (row,) = torch.autograd.grad(expected[k], log_omega, retain_graph=True)
        torch.testing.assert_close(variance[k], row[k], rtol=1e-8, atol=0)
