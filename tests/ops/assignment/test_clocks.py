# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

import pytest
import torch

from pyro_drpm.ops.assignment.clocks import Clocks, log_rung, log_rung_slope


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_relative_precision_at_any_rate(dtype: torch.dtype) -> None:
    log_x = torch.linspace(-100, 4, 5001, dtype=dtype)
    rings = Clocks(log_x - 1, torch.ones(1, dtype=dtype).exp())
    x = log_x.double().exp()
    hit = torch.where(x < 0.5, (-torch.expm1(-x)).log(), torch.log1p(-(-x).exp()))
    # A relative error of one unit in x, which the exponential makes one of x.
    eps = torch.finfo(dtype).eps
    allowed = 10 * eps * (1 + x)
    assert ((rings.log_rung().double() - hit).abs() <= allowed * hit.abs() + eps**2).all()
    slope = x / torch.expm1(x)
    assert ((rings.slope().double() - slope).abs() <= 3 * allowed * slope).all()


def test_the_differentiable_form_is_the_same() -> None:
    log_x = torch.linspace(-200, 6, 500, dtype=torch.float64, requires_grad=True)
    value = log_rung(log_x)
    torch.testing.assert_close(
        value, Clocks(log_x.detach(), 1.0).log_rung(), rtol=1e-13, atol=1e-15
    )
    (grad,) = torch.autograd.grad(value.sum(), log_x)
    torch.testing.assert_close(grad, log_rung_slope(log_x.detach()), rtol=1e-12, atol=1e-14)
