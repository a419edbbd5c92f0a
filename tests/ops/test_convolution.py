# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

from collections.abc import Callable

import numpy as np
import pytest
import torch

from pyro_drpm.ops import convolution
from pyro_drpm.ops.convolution import conjugate_spectrum, convolve, correlate, fast_correlate


@pytest.fixture(autouse=True, params=["products", "blocks"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "blocks":
        monkeypatch.setattr(convolution, "_SHORT", 0)


def whole(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return convolve(a, b, 0, a.shape[-1] + b.shape[-1] - 1)


@pytest.mark.parametrize(("p", "q"), [(1, 1), (1, 5), (5, 1), (4, 7), (30, 30), (300, 500)])
def test_agrees_with_numpy(p: int, q: int) -> None:
    a, b = torch.rand(p, dtype=torch.float64), torch.rand(q, dtype=torch.float64)
    expected = torch.from_numpy(np.convolve(a.numpy(), b.numpy()))
    torch.testing.assert_close(whole(a, b), expected)


@pytest.mark.parametrize(
    ("first", "width"), [(-20, 21), (-3, 4), (-3, 40), (0, 1), (4, 5), (4, 40), (16, 1), (16, 40)]
)
def test_any_part_of_the_convolution(first: int, width: int) -> None:
    a, b = torch.rand(7, dtype=torch.float64), torch.rand(11, dtype=torch.float64)
    padded = torch.nn.functional.pad(whole(a, b), (20, 70))
    torch.testing.assert_close(convolve(a, b, first, width), padded[20 + first :][:width])


def test_broadcasts_batches() -> None:
    a, b = torch.rand(3, 1, 4), torch.rand(2, 5)
    result = whole(a, b)
    assert result.shape == (3, 2, 8)
    torch.testing.assert_close(result[2, 1], whole(a[2, 0], b[1]))


def test_small_terms_keep_their_relative_accuracy() -> None:
    a = torch.tensor([1.0, 1e-200], dtype=torch.float64)
    assert whole(a, torch.tensor([1.0, 1e-100], dtype=torch.float64))[-1].item() == (
        pytest.approx(1e-300, rel=1e-12)
    )


@pytest.mark.parametrize("first", [-40, -3, 0, 17, 34])
def test_zeros_at_the_ends(first: int) -> None:
    a, b = torch.rand(2, 40, dtype=torch.float64), torch.rand(2, 30, dtype=torch.float64)
    a[0, :11], a[1, :7], a[:, 30:] = 0, 0, 0
    b[:, :20], b[0, 25:], b[1, 27:] = 0, 0, 0
    expected = torch.stack([torch.from_numpy(np.convolve(x, y)) for x, y in zip(a, b, strict=True)])
    padded = torch.nn.functional.pad(expected, (60, 90))
    torch.testing.assert_close(convolve(a, b, first, 50), padded[:, 60 + first :][:, :50])
    assert not convolve(a, torch.zeros_like(b), first, 50).any()


def test_products_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = torch.rand(2, 9, dtype=torch.float64), torch.rand(2, 11, dtype=torch.float64)
    expected = whole(a, b)
    monkeypatch.setattr(convolution, "_CHUNK", 40)
    torch.testing.assert_close(whole(a, b), expected)


@pytest.mark.parametrize(("first", "width"), [(0, 6), (2, 3), (-1, 4), (4, 5)])
def test_derivatives(first: int, width: int) -> None:
    a = torch.rand(2, 3, dtype=torch.float64, requires_grad=True)
    b = torch.rand(2, 4, dtype=torch.float64, requires_grad=True)

    def part(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return convolve(a, b, first, width)

    assert torch.autograd.gradcheck(part, (a, b))
    assert torch.autograd.gradgradcheck(part, (a, b))


def by_transform(a: torch.Tensor, b: torch.Tensor, first: int, width: int) -> torch.Tensor:
    return fast_correlate(a, conjugate_spectrum(b, a.shape[-1]), first)[..., :width]


@pytest.mark.parametrize("function", [correlate, by_transform])
@pytest.mark.parametrize(
    ("p", "q", "first", "width"),
    [(1, 1, 0, 1), (2, 2, 1, 2), (5, 5, 0, 5), (9, 9, 4, 9), (7, 3, 2, 4), (130, 40, 39, 130)],
)
def test_correlations(
    function: Callable[..., torch.Tensor], p: int, q: int, first: int, width: int
) -> None:
    a, b = torch.randn(2, p, dtype=torch.float64), torch.randn(2, q, dtype=torch.float64)
    j, i = torch.arange(p), torch.arange(width).unsqueeze(-1)
    place = first + j - i
    inside = (place >= 0) & (place < q)
    expected = (a.unsqueeze(-2) * b[:, place.clamp(0, q - 1)] * inside).sum(-1)
    torch.testing.assert_close(function(a, b, first, width), expected)
