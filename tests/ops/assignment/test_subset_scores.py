# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""A score for every subset and element, against sums over orderings."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from pyro_drpm.ops.assignment.probability import (
    log_assignment_probability,
    log_subset_assignment_probability,
)
from pyro_drpm.ops.labels import all_partitions

SIZES = [(2, 5), (3, 5), (4, 4), (1, 3), (3, 1)]


def every_partition(num_subsets: int, n: int) -> Tensor:
    return all_partitions(num_subsets, n, torch.device("cpu")).double()


def by_orderings(log_s: Tensor, Y: Tensor) -> float:
    """Stage by stage, the sum over all orders in which a subset may take its elements."""
    left, log_prob = list(range(Y.shape[-1])), 0.0
    for row, members in zip(log_s.exp().tolist(), Y.tolist(), strict=True):
        own = [i for i in left if members[i]]
        total = 0.0
        for order in itertools.permutations(own):
            there, prob = list(left), 1.0
            for i in order:
                prob *= row[i] / sum(row[j] for j in there)
                there.remove(i)
            total += prob
        log_prob += math.log(total)
        left = [i for i in left if i not in own]
    return log_prob


@pytest.mark.parametrize("hard", [True, False])
@pytest.mark.parametrize("scale", [0.0, 1.0, 8.0])
@pytest.mark.parametrize(("num_subsets", "n"), SIZES)
def test_against_the_sum_over_orderings(num_subsets: int, n: int, scale: float, hard: bool) -> None:
    torch.manual_seed(0)
    log_s = scale * torch.randn(num_subsets, n, dtype=torch.float64)
    Y = every_partition(num_subsets, n)
    expected = torch.tensor([by_orderings(log_s, y) for y in Y], dtype=torch.float64)
    result = log_subset_assignment_probability(log_s, Y, hard=hard)
    torch.testing.assert_close(result, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("hard", [True, False])
def test_equal_rows_are_one_score_for_each_element(hard: bool) -> None:
    torch.manual_seed(0)
    log_s, Y = 3 * torch.randn(5, dtype=torch.float64), every_partition(3, 5)
    result = log_subset_assignment_probability(log_s.expand(3, -1), Y, hard=hard)
    expected = log_assignment_probability(log_s, Y, hard=hard)
    torch.testing.assert_close(result, expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("hard", [True, False])
@pytest.mark.parametrize(("num_subsets", "n"), SIZES[:3])
def test_gradients_against_finite_differences(num_subsets: int, n: int, hard: bool) -> None:
    torch.manual_seed(0)
    log_s = torch.randn(num_subsets, n, dtype=torch.float64)
    Y = every_partition(num_subsets, n)
    weight = torch.randn(len(Y), dtype=torch.float64)

    def total(x: Tensor) -> Tensor:
        return log_subset_assignment_probability(x.view_as(log_s), Y, hard=hard) @ weight

    flat, h = log_s.flatten().requires_grad_(), 1e-6
    steps = h * torch.eye(len(flat), dtype=torch.float64)
    expected = torch.stack([(total(flat + e) - total(flat - e)) / (2 * h) for e in steps]).detach()
    for create_graph in (False, True):
        (grad,) = torch.autograd.grad(total(flat), flat, create_graph=create_graph)
        torch.testing.assert_close(grad.detach(), expected, rtol=1e-6, atol=1e-6)
    (by_Y,) = torch.autograd.grad(
        log_subset_assignment_probability(log_s, Y.requires_grad_(), hard=hard).sum(), Y
    )
    (relaxed,) = torch.autograd.grad(
        log_subset_assignment_probability(log_s, Y, hard=False).sum(), Y
    )
    torch.testing.assert_close(by_Y, relaxed)
