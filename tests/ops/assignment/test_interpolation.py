# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

import math

import pytest
import torch
from torch import Tensor

from pyro_drpm.ops.assignment import interpolation
from pyro_drpm.ops.assignment.interpolation import interpolated

MANY = 10_000  # evaluations for each point, so that interpolation is worth it


class Counted:
    """``log(1 + e^x)`` and its derivative, analytic within pi; knows how often it is evaluated."""

    def __init__(self) -> None:
        self.evaluations = 0

    def __call__(self, x: Tensor) -> Tensor:
        self.evaluations += x.numel()
        return torch.stack([torch.logaddexp(x, torch.zeros_like(x)), x.sigmoid()], -1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("half_width", [0.0, 1e-4, 1.0, 5.0, 20.0])
def test_values_are_those_of_the_function_from_fewer_points(
    half_width: float, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    x = (half_width * (2 * torch.rand(2, 3, 2000) - 1) + 0.7).to(dtype)
    function = Counted()
    result = interpolated(function, x, math.pi, MANY)
    expected = Counted()(x.double())
    scale = expected.abs().max()
    tolerance = 100 * torch.finfo(dtype).eps * scale
    torch.testing.assert_close(result.double(), expected, rtol=0, atol=float(tolerance))
    assert result.dtype == dtype
    assert function.evaluations < x.numel() / 4


def test_few_points_are_evaluated_directly() -> None:
    x = torch.linspace(-5, 5, 20)
    function = Counted()
    assert torch.equal(interpolated(function, x, math.pi, MANY), Counted()(x))
    assert function.evaluations == 20


def test_cheap_functions_are_evaluated_directly() -> None:
    x = torch.linspace(-5, 5, 1000)
    function = Counted()
    assert torch.equal(interpolated(function, x, math.pi, 2), Counted()(x))
    assert function.evaluations == 1000


def test_more_points_where_the_function_is_less_smooth() -> None:
    """Too few of them would show."""
    x = torch.linspace(-3, 3, 1000, dtype=torch.float64)
    for pole in (1.0, 0.1):

        def function(x: Tensor, pole: float = pole) -> Tensor:
            return (1 / (1 + (x / pole).square())).unsqueeze(-1)

        result = interpolated(function, x, 0.9 * pole, MANY)
        torch.testing.assert_close(result, function(x), rtol=0, atol=1e-12)
        error = (interpolated(function, x, 3 * pole, MANY) - function(x)).abs().max()
        assert error > 1e-9


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 1e30])
def test_what_has_no_interval_is_evaluated_directly(value: float) -> None:
    x = torch.linspace(-1, 1, 1000)
    x[3] = value
    torch.testing.assert_close(
        interpolated(Counted(), x, math.pi, MANY), Counted()(x), rtol=0, atol=0, equal_nan=True
    )


def test_rows_of_expanded_points_are_interpolated_once() -> None:
    x = torch.rand(1, 500).expand(7, 500)
    function = Counted()
    result = interpolated(function, x, math.pi, MANY)
    torch.testing.assert_close(result.expand(7, -1, -1), Counted()(x), rtol=0, atol=1e-6)
    assert function.evaluations < 50


def test_no_points(monkeypatch: pytest.MonkeyPatch) -> None:
    assert interpolated(Counted(), torch.zeros(3, 0), math.pi, MANY).shape == (3, 0, 2)
    monkeypatch.setattr(interpolation, "_FEWEST", 1000)
    assert interpolated(Counted(), torch.zeros(3, 5), math.pi, MANY).shape == (3, 5, 2)


def test_autocast_changes_nothing() -> None:
    x = torch.linspace(-1, 1, 1000)
    expected = interpolated(Counted(), x, math.pi, MANY)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(interpolated(Counted(), x, math.pi, MANY), expected)
