# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The band against the dense matrix."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_drpm.ops.relaxation import neuralsort
from pyro_drpm.ops.relaxation.band import band_half_width, neural_sort_band, whole_rows
from pyro_drpm.ops.relaxation.neuralsort import neural_sort, permute_hard, permute_relaxed

CASES = [
    (1, 0.5, 1.0),
    (2, 0.5, 1.0),
    (7, 0.5, 1.0),
    (60, 0.1, 1.0),
    (300, 0.5, 1.0),
    (90, 2.0, 0.01),
]


def dense_band(scores: Tensor, temperature: float, half_width: int) -> Tensor:
    """The band cut out of the dense matrix, zero beyond the matrix."""
    n = scores.shape[-1]
    dense = neural_sort(scores, temperature)
    padded = F.pad(dense, (half_width, half_width))
    return torch.stack([padded[..., i, i : i + 2 * half_width + 1] for i in range(n)], -2)


def test_dense_matrix_against_the_definition() -> None:
    z, tau = [0.3, -1.2, 2.0], 0.7
    for i, row in enumerate(neural_sort(torch.tensor(z, dtype=torch.float64), tau), start=1):
        logits = [((3 + 1 - 2 * i) * a - sum(abs(a - b) for b in z)) / tau for a in z]
        torch.testing.assert_close(row, torch.tensor(logits, dtype=torch.float64).softmax(0))


@pytest.mark.parametrize(("n", "temperature", "scale"), CASES)
def test_band_is_the_dense_matrix_up_to_the_bound(n: int, temperature: float, scale: float) -> None:
    torch.manual_seed(0)
    ordered = (scale * torch.randn(2, n, dtype=torch.float64)).sort(descending=True).values
    for eps in (1e-3, 1e-7, 1e-15):
        half_width = band_half_width(ordered, temperature, eps)
        cut = dense_band(ordered, temperature, half_width)
        left_out = 1 - cut.sum(-1)
        assert left_out.max() <= eps + 1e-14
        band = neural_sort_band(ordered, temperature, half_width)
        torch.testing.assert_close(band, cut, rtol=1e-9, atol=2 * eps)


def test_band_is_narrow_where_the_issue_measured_it() -> None:
    torch.manual_seed(0)
    ordered = torch.randn(1024, dtype=torch.float64).sort(descending=True).values
    half_width = band_half_width(ordered, 0.5, 1e-12)
    assert half_width < 200
    narrower = neural_sort_band(ordered, 0.5, half_width // 2)
    assert (narrower - dense_band(ordered, 0.5, half_width // 2)).abs().max() > 1e-12


@pytest.mark.parametrize("temperature", [1e-6, 1e-12])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_are_finite_where_logits_are_nothing_but_rounding(
    dtype: torch.dtype, temperature: float
) -> None:
    torch.manual_seed(0)
    ordered = (1e6 * torch.rand(300, dtype=torch.float64)).sort(descending=True).values
    for rows in (
        whole_rows(ordered, temperature, slice(None), dtype),
        neural_sort_band(ordered, temperature, 3, dtype=dtype),
    ):
        torch.testing.assert_close(rows.sum(-1), torch.ones(300, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("n", "temperature", "scale"), CASES)
@pytest.mark.parametrize("chunk", [1 << 20, 500])
def test_permutations_against_dense_products(
    n: int,
    temperature: float,
    scale: float,
    chunk: int,
    dtype: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(neuralsort, "_CHUNK", chunk)
    torch.manual_seed(0)
    scores = (scale * torch.randn(2, 2, n, dtype=torch.float64)).requires_grad_()
    alpha = F.one_hot(torch.randint(3, (2, 2, n)), 3).mT.to(dtype).requires_grad_()
    weights = torch.randn(2, 2, 3, n, dtype=dtype)
    order = scores.argsort(descending=True)
    permutation = F.one_hot(order, n).to(dtype)

    dense = alpha.double() @ neural_sort(scores, temperature)
    dense_alpha, dense_scores = torch.autograd.grad((dense * weights).sum(), (alpha, scores))
    relative, absolute = (1e-7, 1e-8) if dtype is torch.float64 else (1e-4, 1e-5)
    absolute *= max(1.0, dense_scores.abs().max().item())

    hard = permute_hard(alpha, scores, temperature)
    torch.testing.assert_close(hard, alpha @ permutation, rtol=0, atol=0)
    hard_alpha, hard_scores = torch.autograd.grad((hard * weights).sum(), (alpha, scores))
    torch.testing.assert_close(hard_alpha, weights @ permutation.mT)
    torch.testing.assert_close(hard_scores, dense_scores, rtol=relative, atol=absolute)

    relaxed = permute_relaxed(alpha, scores, temperature)
    torch.testing.assert_close(relaxed, dense.to(dtype), rtol=1e-5, atol=1e-6)
    grads = torch.autograd.grad((relaxed * weights).sum(), (alpha, scores))
    torch.testing.assert_close(grads, (dense_alpha, dense_scores), rtol=relative, atol=absolute)
