# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Exact means of partitions against enumeration."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from pyro_drpm import DRPM
from tests.distributions.size_laws import N, every_law, parameter


@pytest.mark.parametrize("scale", [0.0, 1.0, 8.0, 40.0])
@every_law
def test_means_and_their_gradients(build: Any, scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    log_s = scale * torch.randn(N, generator=generator, dtype=torch.float64)
    leaves = parameter(), log_s.requires_grad_()
    partition = DRPM(sizes=build(leaves[0]), log_s=leaves[1])
    every = partition.enumerate_support()
    every = every[partition.log_prob(every).isfinite()]
    prob = partition.log_prob(every).exp()
    expected = torch.einsum("y,ykn->kn", prob, every)
    mean = partition.mean
    torch.testing.assert_close(mean, expected, rtol=1e-11, atol=1e-12)
    weight = torch.randn(mean.shape, generator=generator, dtype=torch.float64)
    found, wanted = (
        torch.autograd.grad((x * weight).sum(), leaves, retain_graph=True) for x in (mean, expected)
    )
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_many_elements(dtype: torch.dtype) -> None:
    log_omega, log_s = (
        torch.linspace(-2, 1, 6, dtype=dtype),
        torch.linspace(3, -9, 150, dtype=dtype),
    )
    partition = DRPM(log_omega=log_omega, log_s=log_s)
    mean = partition.mean
    assert mean.dtype == dtype
    tolerance = {torch.float32: 1e-5, torch.float64: 1e-11}[dtype]
    torch.testing.assert_close(mean.sum(-2), torch.ones_like(log_s), rtol=tolerance, atol=0)
    torch.testing.assert_close(mean.sum(-1), partition.sizes.mean, rtol=tolerance, atol=0)


def test_batches_and_single_subsets() -> None:
    log_s = torch.randn(2, 1, 4, dtype=torch.float64)
    partition = DRPM(torch.ones(3, 2).double(), log_s=log_s)
    for b in range(2):
        single = DRPM(torch.ones(2).double(), log_s=log_s[b, 0])
        torch.testing.assert_close(partition.mean[b, 1], single.mean)
    assert (DRPM(torch.ones(1).double(), log_s=log_s[0, 0]).mean - 1).abs().max() < 1e-13


def test_what_cannot_be_had_is_said() -> None:
    scores: Tensor = torch.zeros(513)
    with pytest.raises(ValueError, match="at most 512 for exact means, but got n=513"):
        _ = DRPM(torch.ones(2), log_s=scores).mean
    with pytest.raises(ValueError, match="expected K \\*\\* n to be at most 65536"):
        _ = DRPM(torch.ones(2), log_subset_s=torch.zeros(2, 17)).mean
