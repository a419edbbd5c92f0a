# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Binomial coefficients against integers and digamma functions of any number of digits."""

import math

import mpmath
import pytest
import torch

from pyro_drpm import MultivariateFisherHypergeometric
from pyro_drpm.ops.sizes.log_binomial import log_binomial

SIZES = [0, 1, 2, 5, 31, 32, 33, 63, 64, 1000, 10**5, 10**8, 10**11, 10**13, 2**53, 2**60]


@pytest.mark.parametrize("n", SIZES)
def test_values_and_slopes(n: int) -> None:
    some = {0, 1, 2, 3, 15, 31, 40, 500, n // 2, n - 40, n - 1, n}
    for k in (k for k in some if 0 <= k <= n and min(k, n - k) <= 500 and float(k) == k):
        count = torch.tensor(float(k), dtype=torch.float64, requires_grad=True)
        value = log_binomial(torch.tensor(float(n), dtype=torch.float64), count)
        (slope,) = torch.autograd.grad(value, count)
        with mpmath.workdps(40):
            expected = float(mpmath.digamma(n - k + 1) - mpmath.digamma(k + 1))
        assert value.item() == pytest.approx(math.log(math.comb(n, k)), rel=1e-14, abs=1e-14)
        assert slope.item() == pytest.approx(expected, rel=1e-13, abs=1e-13)


@pytest.mark.parametrize("capacity", [10**3, 10**11, 10**15, 10**18])
def test_sizes_of_huge_subsets(capacity: int) -> None:
    log_omega = torch.tensor([0.5, -1.0], dtype=torch.float64, requires_grad=True)
    d = MultivariateFisherHypergeometric(
        6, log_omega=log_omega, capacities=torch.tensor([4 * capacity, 3 * capacity])
    )
    counts = torch.stack([torch.arange(7.0), 6 - torch.arange(7.0)], -1).double()
    with mpmath.workdps(40):
        weights = [
            math.comb(4 * capacity, x) * math.comb(3 * capacity, 6 - x) * mpmath.exp(1.5 * x - 6)
            for x in range(7)
        ]
        expected = [float(mpmath.log(w / sum(weights))) for w in weights]
        mean = float(sum(x * w for x, w in enumerate(weights)) / sum(weights))
    expected_log_mass = torch.tensor(expected, dtype=torch.float64)
    for _ in range(2):  # without tables, then with them
        log_prob = d.log_prob(counts)
        torch.testing.assert_close(log_prob, expected_log_mass, rtol=1e-13, atol=1e-13)
        (grad,) = torch.autograd.grad(log_prob[0], log_omega)
        assert grad[0].item() == pytest.approx(-mean, rel=1e-12)
        d.sample()
