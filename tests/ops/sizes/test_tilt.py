# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

import pytest
import torch
from scipy.optimize import brentq

from pyro_drpm.ops.sizes.tilt import tilt


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
@pytest.mark.parametrize(("capacities", "n"), [([7, 7], 7), ([9, 2, 0, 30], 12), ([500] * 10, 500)])
def test_against_a_root_finder(capacities: list[int], n: int, scale: float) -> None:
    torch.manual_seed(0)
    m = torch.tensor(capacities)
    log_omega = scale * torch.randn(5, len(capacities), dtype=torch.float64)
    shifts = tilt(log_omega, m, n)
    assert shifts.shape == (5,)
    for row, shift in zip(log_omega, shifts.tolist(), strict=True):

        def excess(x: float, row: torch.Tensor = row) -> float:
            return float((m * torch.sigmoid(row + x)).sum()) - n

        assert shift == pytest.approx(brentq(excess, -200, 200), abs=0.5 * n**-0.5)


def test_weights_a_million_apart() -> None:
    log_omega = torch.tensor([-5e5, 0.0, 5e5], dtype=torch.float64)
    mean = 4 * torch.sigmoid(log_omega + tilt(log_omega, torch.tensor([4, 4, 4]), 6))
    torch.testing.assert_close(mean, torch.tensor([0.0, 2.0, 4.0]).double(), rtol=0, atol=0.3)


def test_full_subsets() -> None:
    m, log_omega = torch.tensor([2, 3]), torch.tensor([-1.0, 1.0], dtype=torch.float64)
    mean = m * torch.sigmoid(log_omega + tilt(log_omega, m, 5))
    torch.testing.assert_close(mean, m.double())
