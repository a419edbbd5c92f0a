# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

import pytest
import torch

from pyro_drpm.ops.sizes.product import product_tables


@pytest.mark.parametrize("n", [7, 400])  # searched among many points at a time and few
@pytest.mark.parametrize("steepness", [0.0, 1.0, 30.0])
def test_independent_counts_add_up_to_the_total_on_average(n: int, steepness: float) -> None:
    torch.manual_seed(0)
    counts = torch.arange(n + 1).double()
    log_factors = torch.randn(2, 3, n + 1).double() + steepness * torch.randn(2, 3, 1) * counts
    log_factors[0, 0, n // 2 :] = -torch.inf
    mass = product_tables(log_factors, n).mass
    torch.testing.assert_close(mass.sum(-1), torch.ones(2, 3).double())
    mean = (mass * counts).sum((-1, -2))
    torch.testing.assert_close(mean, torch.full((2,), n).double(), rtol=0, atol=1e-6)
