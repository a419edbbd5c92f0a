# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Sums and maxima by subset, against loops, also with several partial results as on a GPU."""

from __future__ import annotations

import math

import pytest
import torch

from pyro_drpm.ops.assignment import subset_sums
from pyro_drpm.ops.assignment.subset_sums import SubsetSums

BATCH, N, K = (2, 3), 50, 4


@pytest.fixture(params=[1, 7])
def copies(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    copies: int = request.param
    monkeypatch.setattr(subset_sums, "_copies", lambda subset, num_subsets: copies)
    return copies


def test_of_every_subset(copies: int) -> None:
    subset = torch.randint(K - 1, (*BATCH, N))  # the last one is empty
    values = torch.randn(*BATCH, N, dtype=torch.float64)
    sums = SubsetSums(subset, K)
    assert sums.shape == (copies, *BATCH, K)
    total, largest = sums.total(values), sums.largest(values)
    for k in range(K):
        of_k = values.masked_fill(subset != k, 0.0).sum(-1)
        torch.testing.assert_close(total[..., k], of_k)
        assert torch.equal(largest[..., k], values.masked_fill(subset != k, -math.inf).amax(-1))


def test_rows_of_numbers(copies: int) -> None:
    subset, values = torch.randint(K, (*BATCH, N)), torch.randn(*BATCH, N, 5)
    sums = SubsetSums(subset, K)
    partial = torch.zeros(sums.shape.numel(), 5).index_add(0, sums.place, values.flatten(0, -2))
    expected = torch.stack([sums.total(values[..., q]) for q in range(5)], -1)
    torch.testing.assert_close(sums.joined(partial), expected)


def test_additions_are_spread_on_a_gpu() -> None:
    """Not more than 1,024 numbers, and as many elements for each."""
    subset = torch.zeros(1, 10_000, dtype=torch.long, device="meta")
    assert SubsetSums(subset, 10).shape == (102, 1, 10)
    assert SubsetSums(subset, 2_000).shape == (1, 1, 2_000)


def test_elements_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subset_sums, "_copies", lambda subset, num_subsets: 8)
    sums = SubsetSums(torch.zeros(2, 80, dtype=torch.long), 3)
    assert sums.place.bincount(minlength=48).tolist() == [10, 0, 0] * 16
    assert sums.row.tolist() == [0] * 80 + [3] * 80
