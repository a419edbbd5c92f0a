# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

import numpy as np
import pytest
import torch

from pyro_drpm.ops import convolution
from pyro_drpm.ops.convolution import convolve


@pytest.mark.parametrize(("p", "q"), [(1, 1), (1, 5), (5, 1), (4, 7), (30, 30)])
def test_agrees_with_numpy(p: int, q: int) -> None:
    a, b = torch.rand(p, dtype=torch.float64), torch.rand(q, dtype=torch.float64)
    expected = torch.from_numpy(np.convolve(a.numpy(), b.numpy()))
    torch.testing.assert_close(convolve(a, b), expected)


def test_broadcasts_batches() -> None:
    a, b = torch.rand(3, 1, 4), torch.rand(2, 5)
    result = convolve(a, b)
    assert result.shape == (3, 2, 8)
    torch.testing.assert_close(result[2, 1], convolve(a[2, 0], b[1]))


def test_small_terms_keep_their_relative_accuracy() -> None:
    a = torch.tensor([1.0, 1e-200], dtype=torch.float64)
    assert convolve(a, torch.tensor([1.0, 1e-100], dtype=torch.float64))[-1].item() == (
        pytest.approx(1e-300, rel=1e-12)
    )


def test_passes_over_the_results_agree_with_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = torch.rand(2, 9, dtype=torch.float64), torch.rand(2, 11, dtype=torch.float64)
    whole = convolve(a, b)
    for name, limit in (("_CHUNK", 40), ("_MANY_RESULTS", 1)):
        monkeypatch.setattr(convolution, name, limit)
        torch.testing.assert_close(convolve(a, b), whole)


def test_derivatives() -> None:
    a = torch.rand(2, 3, dtype=torch.float64, requires_grad=True)
    b = torch.rand(2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(convolve, (a, b))
    assert torch.autograd.gradgradcheck(convolve, (a, b))
