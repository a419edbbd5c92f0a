# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

import math

import pytest
import torch
from scipy import stats

from pyro_drpm.ops.sizes import windows
from pyro_drpm.ops.sizes.fisher import fisher_tables
from tests.oracles import SIZE_CASES, log_size_normalizer, log_size_probabilities


@pytest.mark.parametrize("scale", [0.0, 1.0, 10.0, 100.0, 1000.0])
@pytest.mark.parametrize(("capacities", "n"), SIZE_CASES)
def test_normaliser_and_chained_conditionals_against_enumeration(
    capacities: list[int], n: int, scale: float
) -> None:
    torch.manual_seed(0)
    m = torch.tensor(capacities)
    log_omega = scale * torch.randn(len(capacities), dtype=torch.float64)
    law = fisher_tables(log_omega, m, n)
    masses = log_size_probabilities(log_omega, m, n)
    expected = log_size_normalizer(log_omega, masses, m)
    assert law.log_normalizer().item() == pytest.approx(expected, rel=1e-11, abs=1e-11)
    for counts, log_mass in masses.items():
        if log_mass < -500:  # below what a plain probability can hold
            continue
        chained, remaining = 0.0, n
        for k, count in enumerate(counts[:-1]):
            prob = law.conditional(k, torch.tensor(remaining))
            chained += math.log(prob[count - int(law.mass_start[k])])
            remaining -= count
        assert chained == pytest.approx(log_mass, rel=1e-11, abs=1e-11)


def test_conditionals_of_all_subsets_at_once() -> None:
    law = fisher_tables(torch.randn(4), torch.tensor([5, 5, 5, 5]), 5)
    remaining = torch.tensor([[5, 4, 1], [5, 0, 0]])
    together = law.conditional(slice(-1), remaining)
    for k in range(3):
        torch.testing.assert_close(together[:, k], law.conditional(k, remaining[:, k]))


@pytest.mark.parametrize("n", [1000, 5000])
@pytest.mark.parametrize("odds", [1.0, 0.01, 1e6, 1e-30])
def test_windows_of_a_large_problem_against_scipy(n: int, odds: float) -> None:
    # Two subsets: Fisher's univariate distribution of n draws out of n and 2 n.
    m = torch.tensor([n, 2 * n])
    law = fisher_tables(torch.tensor([math.log(odds), 0.0], dtype=torch.float64), m, n)
    assert law.mass.shape[-1] < n + 1, "the window should be narrower than the support"
    prob = law.conditional(0, torch.tensor(n))
    counts = (law.mass_start[0] + torch.arange(prob.shape[-1])).numpy()
    expected = torch.from_numpy(stats.nchypergeom_fisher(3 * n, n, n, odds).pmf(counts))
    torch.testing.assert_close(prob, expected, rtol=1e-8, atol=1e-14)


def test_windows_agree_with_the_full_table(monkeypatch: pytest.MonkeyPatch) -> None:
    n, m = 1200, torch.tensor([1200, 100, 700, 300])
    log_omega = torch.tensor([0.0, 3.0, -2.0, 1.0], dtype=torch.float64)
    windowed = fisher_tables(log_omega, m, n)
    monkeypatch.setattr(windows, "_window_width", lambda total: total + 1)
    full = fisher_tables(log_omega, m, n)
    assert windowed.mass.shape[-1] < full.mass.shape[-1] == n + 1
    torch.testing.assert_close(windowed.log_normalizer(), full.log_normalizer(), rtol=1e-13, atol=0)


def test_derivatives() -> None:
    log_omega = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)

    def normaliser(x: torch.Tensor) -> torch.Tensor:
        return fisher_tables(x, torch.tensor([4, 2, 5, 5]), 5).log_normalizer()

    assert torch.autograd.gradcheck(normaliser, log_omega)
    assert torch.autograd.gradgradcheck(normaliser, log_omega)
