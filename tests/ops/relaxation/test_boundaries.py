# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Relaxed boundaries and their gradients against sums of logarithms, one for each entry."""

import math

import pytest
import torch
from torch import Tensor

from pyro_drpm.ops.noise import gumbel
from pyro_drpm.ops.relaxation.boundaries import relaxed_boundaries
from pyro_drpm.ops.sizes.draws import perturbed_sizes
from pyro_drpm.ops.sizes.fisher import fisher_tables


def convolve_logs(log_a: Tensor, log_b: Tensor) -> Tensor:
    """The first ``n + 1`` entries of a convolution, of logarithms, term by term."""
    rows = [(log_a[: i + 1] + log_b[: i + 1].flip(-1)).logsumexp(-1) for i in range(len(log_a))]
    return torch.stack(rows)


def plainly(log_omega: Tensor, n: int, counts: Tensor, noise: Tensor, temperature: float) -> Tensor:
    """``P(c_k >= i)`` from unnormalised logarithms; shapes are those of a single draw."""
    x = torch.arange(n + 1)
    log_ways = torch.tensor([math.log(math.comb(n, i)) for i in x.tolist()], dtype=torch.float64)
    log_mass = log_ways + x * log_omega.unsqueeze(-1)
    log_rest = [log_mass[-1]]
    for row in log_mass[1:-1].flip(0):
        log_rest.insert(0, convolve_logs(row, log_rest[0]))
    remaining, law = n, torch.tensor([1.0] + [0.0] * n).double()
    result = []
    for k, rest in enumerate(log_rest):
        logits = torch.where(x <= remaining, rest[(remaining - x).clamp(min=0)], -math.inf)
        soft = ((log_mass[k] + logits + noise[k]) / temperature).softmax(-1)
        law = torch.stack([(law[: i + 1] * soft[: i + 1].flip(-1)).sum() for i in range(n + 1)])
        result.append(1 - law.cumsum(-1)[:-1])
        remaining -= int(counts[k])
    return torch.stack(result)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 100.0])
@pytest.mark.parametrize(("num_subsets", "n"), [(2, 60), (3, 7), (3, 200), (4, 120), (5, 40)])
def test_values_and_gradients(
    num_subsets: int, n: int, temperature: float, dtype: torch.dtype
) -> None:
    torch.manual_seed(num_subsets)
    log_omega = torch.randn(num_subsets, dtype=dtype, requires_grad=True)
    law = fisher_tables(log_omega, torch.full((num_subsets,), n), n)
    noise = -torch.empty(num_subsets - 1, n + 1, dtype=torch.float64).exponential_().log()
    counts = perturbed_sizes(law, noise, torch.Size())
    weights = torch.randn(num_subsets - 1, n, dtype=torch.float64)

    soft = relaxed_boundaries(law, counts, noise, temperature)
    expected = plainly(log_omega.double(), n, counts, noise, temperature)
    torch.testing.assert_close(soft, expected, rtol=1e-9, atol=1e-12)
    grad, wanted = (
        torch.autograd.grad((value * weights).sum(), log_omega)[0] for value in (soft, expected)
    )
    tolerance = 1e-8 if dtype == torch.float64 else 1e-5
    atol = 1e-12 + tolerance * float(wanted.abs().max())
    torch.testing.assert_close(grad, wanted, rtol=0, atol=atol)


@pytest.mark.parametrize("temperature", [2.0, 100.0, 1e4])
@pytest.mark.parametrize(
    ("num_subsets", "n", "scale"), [(2, 40, 100.0), (3, 1000, 3.0), (5, 300, 30.0), (4, 9, 1000.0)]
)
def test_gradients_stay_finite_where_probabilities_underflow(
    num_subsets: int, n: int, scale: float, temperature: float
) -> None:
    torch.manual_seed(0)
    log_omega = (scale * torch.randn(num_subsets)).requires_grad_()
    law = fisher_tables(log_omega, torch.full((num_subsets,), n), n)
    counts = perturbed_sizes(law, None, torch.Size())
    soft = relaxed_boundaries(law, counts, None, temperature)
    weights = torch.randn(num_subsets - 1, n)
    (grad,) = torch.autograd.grad((soft * weights).sum(), log_omega)
    assert (grad.abs() <= 50 * n / temperature).all()


def test_relaxed_boundaries_harden_and_are_ordered() -> None:
    torch.manual_seed(0)
    law = fisher_tables(torch.randn(4), torch.full((4,), 8), 8)
    shape = torch.Size((100,))
    noise = gumbel(shape + (3, 9), law.mass.device)
    counts = perturbed_sizes(law, noise, shape)
    hard = (torch.arange(8) < counts[:, :-1].cumsum(-1).unsqueeze(-1)).double()
    cold = relaxed_boundaries(law, counts, noise, 1e-3)
    torch.testing.assert_close((cold - hard).abs().median(), torch.tensor(0.0).double())
    assert (cold - hard).abs().mean() < 1e-3
    warm = relaxed_boundaries(law, counts, noise, 1.0)
    assert warm.min() >= -1e-12 and warm.max() <= 1 + 1e-12
    assert (warm.diff(dim=-1) <= 1e-12).all(), "survival functions fall with the rank"
    assert (warm.diff(dim=-2) >= -1e-12).all(), "boundaries grow with the subset"
