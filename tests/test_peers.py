# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""What this library is compared with: against definitions, by bisection and by enumeration."""

import itertools

import pytest
import torch
from torch import Tensor

from benchmarks.peers import (
    lapsum_partition,
    largest,
    simple_marginals,
    soft_ranks,
)


def by_bisection(scores: Tensor, sizes: list[int], scale: float) -> Tensor:
    """LapSum's shares, with thresholds by bisection."""
    law = torch.distributions.Laplace(torch.tensor(0.0).double(), scale)
    shares = [torch.zeros_like(scores)]
    for bound in itertools.accumulate(sizes[:-1]):
        low, high = scores.min() - 99 * scale, scores.max() + 99 * scale
        for _ in range(200):
            middle = (low + high) / 2
            enough = law.cdf(scores - middle).sum() > bound
            low, high = (middle, high) if enough else (low, middle)
        shares.append(law.cdf(scores - middle))
    return torch.stack([*shares, torch.ones_like(scores)]).diff(dim=0)


@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("sizes", [[1, 1], [1, 6], [6, 1], [2, 3, 1, 4]])
def test_lapsum_by_bisection(sizes: list[int], scale: float) -> None:
    torch.manual_seed(0)
    scores = torch.randn(3, sum(sizes)).double()
    found = lapsum_partition(scores, torch.tensor(sizes), scale)
    for row, partition in zip(scores, found, strict=True):
        torch.testing.assert_close(partition, by_bisection(row, sizes, scale))


def test_slopes_of_lapsum() -> None:
    torch.manual_seed(0)
    scores, sizes = torch.randn(8).double(), [2, 3, 3]
    weight = torch.randn(3, 8).double()

    def f(x: Tensor) -> Tensor:
        return (lapsum_partition(x, torch.tensor(sizes), 0.7) * weight).sum()

    moves = 1e-5 * torch.eye(8).double()
    by_differences = [
        (by_bisection(scores + move, sizes, 0.7) - by_bisection(scores - move, sizes, 0.7))
        .mul(weight)
        .sum()
        / 2e-5
        for move in moves
    ]
    (slopes,) = torch.autograd.grad(f(scores.requires_grad_()), scores)
    torch.testing.assert_close(slopes, torch.stack(by_differences), rtol=1e-6, atol=1e-8)


def test_soft_ranks() -> None:
    x = torch.tensor([3.0, 1.0, 2.0, 7.0]).double().requires_grad_()
    torch.testing.assert_close(soft_ranks(x, 1e-3).tolist(), [3.0, 1.0, 2.0, 4.0])
    # Nothing is left of the order where scores hardly count.
    torch.testing.assert_close(soft_ranks(x, 1e9), torch.full((4,), 2.5).double())
    torch.autograd.gradcheck(lambda x: soft_ranks(x, 1.5), x)


@pytest.mark.parametrize("strength", [1e-3, 0.1, 1.0, 10.0])
@pytest.mark.parametrize("n", [2, 5, 50])
def test_soft_ranks_of_softtorch(n: int, strength: float) -> None:
    softtorch = pytest.importorskip("softtorch")
    torch.manual_seed(0)
    x, weight = torch.randn(n).double().requires_grad_(), torch.randn(n).double()
    found = soft_ranks(x, strength)
    expected = softtorch.rank(
        x,
        softness=strength * (n - 1),  # its ranks are from 1 / (n - 1) to n / (n - 1)
        mode="c0",
        method="fast_soft_sort",
        descending=False,
        standardize=False,
    )
    torch.testing.assert_close(found, expected)
    slopes = [torch.autograd.grad(y @ weight, x)[0] for y in (found, expected)]
    torch.testing.assert_close(*slopes)


def test_marginals_of_simple() -> None:
    torch.manual_seed(0)
    theta = torch.randn(6).double().requires_grad_()
    subsets = list(itertools.combinations(range(6), 2))
    log_masses = torch.stack([theta[list(subset)].sum() for subset in subsets])
    z = torch.zeros(len(subsets), 6).double().scatter(-1, torch.tensor(subsets), 1.0)
    expected = log_masses.softmax(0) @ z
    found = simple_marginals(theta, 2)
    torch.testing.assert_close(found, expected)
    weight = torch.randn(6).double()
    slopes = [torch.autograd.grad(x @ weight, theta)[0] for x in (found, expected)]
    torch.testing.assert_close(*slopes)


def test_largest() -> None:
    assert largest(torch.tensor([3.0, 1.0, 2.0]), 2).tolist() == [1.0, 0.0, 1.0]
