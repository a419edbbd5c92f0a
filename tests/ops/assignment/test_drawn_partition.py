# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Drawn partitions against matrices that are written down rank by rank."""

import pytest
import torch
from torch import Tensor

from pyro_drpm.ops.assignment.drawn_partition import drawn_partition
from pyro_drpm.ops.assignment.ranks import Ranks

N = 6
COUNTS = [[2, 3, 1], [0, 6, 0], [6, 0, 0], [0, 0, 6], [3, 0, 3], [1, 4, 1]]


def no_moves(counts: Tensor) -> Tensor:
    return torch.zeros(2, *counts.shape[:-1], counts.shape[-1] - 1, dtype=torch.float64)


def partition(counts: list[int], scores: Tensor) -> Tensor:
    """The element of each rank in the subset whose ranks it is among."""
    Y = torch.zeros(len(counts), N, dtype=torch.float64)
    for rank, element in enumerate(scores.argsort(descending=True).tolist()):
        before = 0
        for k, count in enumerate(counts):
            Y[k, element] = before <= rank < before + count
            before += count
    return Y


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("counts", COUNTS)
def test_the_first_ranks_are_the_first_subset(counts: list[int], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    scores = torch.randn(4, N, dtype=torch.float64)
    sizes = torch.tensor(counts)
    Y = drawn_partition(scores.to(dtype), no_moves(sizes), Ranks.of(sizes, scores))
    assert Y.dtype == dtype
    expected = torch.stack([partition(counts, row) for row in scores])
    torch.testing.assert_close(Y.double(), expected, rtol=0, atol=0)


def test_counts_of_each_draw() -> None:
    torch.manual_seed(0)
    scores, counts = torch.randn(len(COUNTS), N, dtype=torch.float64), torch.tensor(COUNTS)
    Y = drawn_partition(scores, no_moves(counts), Ranks.of(counts, scores))
    expected = [partition(row, s) for row, s in zip(COUNTS, scores, strict=True)]
    torch.testing.assert_close(Y, torch.stack(expected), rtol=0, atol=0)


@pytest.mark.parametrize("counts", COUNTS)
def test_moves_have_the_gradient_of_what_one_more_step_changes(counts: list[int]) -> None:
    torch.manual_seed(0)
    scores, weights = torch.randn(N, dtype=torch.float64), torch.randn(3, N, dtype=torch.float64)
    sizes = torch.tensor(counts)
    moves = no_moves(sizes).requires_grad_()
    Y = drawn_partition(scores, moves, Ranks.of(sizes, scores))
    (grad,) = torch.autograd.grad((Y * weights).sum(), moves)
    order = scores.argsort(descending=True)
    for k, boundary in enumerate(sizes.cumsum(0)[:-1].tolist()):
        for direction, rank in enumerate((boundary, boundary - 1)):
            expected = 0.0
            if 0 <= rank < N:  # its element comes into the first k subsets, out of the next
                expected = (weights[k] - weights[k + 1])[order[rank]].item()
            assert grad[direction, k].item() == pytest.approx(expected, abs=1e-15)


def test_moves_of_common_counts_add_up_over_draws() -> None:
    torch.manual_seed(0)
    counts = torch.tensor([[2, 3, 1]])
    scores = torch.randn(5, 1, N, dtype=torch.float64)
    weights = torch.randn(5, 1, 3, N, dtype=torch.float64)

    def gradient(counts: Tensor) -> Tensor:
        moves = no_moves(counts).requires_grad_()
        Y = drawn_partition(scores, moves, Ranks.of(counts, scores))
        return torch.autograd.grad((Y * weights).sum(), moves)[0]

    common, each = gradient(counts), gradient(counts.expand(5, 1, 3))
    assert common.shape == (2, 1, 2) and each.shape == (2, 5, 1, 2)
    torch.testing.assert_close(common, each.sum(1))
