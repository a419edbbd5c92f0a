# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""What is left over behind each subset, against the sum that it is."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_drpm.ops.assignment.log_rests import log_rests

SUBSETS = [[0, 1, 2, 3, 0, 1], [1, 1, 1, 3, 3, 1], [0, 0, 0, 0, 0, 0], [0, 1, 1, 0, 1, 2]]


def plain(log_s: Tensor, Y: Tensor) -> Tensor:
    rests = [(log_s.exp() * Y[..., k:, :].sum(-2)).sum(-1) for k in range(1, Y.shape[-2])]
    return torch.stack(rests, -1).log()


def problem(scale: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    subset = torch.tensor(SUBSETS)
    log_s = scale * torch.randn(subset.shape, dtype=torch.float64)
    Y = F.one_hot(subset, 4).mT.double().contiguous()
    return log_s.requires_grad_(), Y.requires_grad_(), subset


@pytest.mark.parametrize("known", [True, False])
def test_against_the_sum(known: bool) -> None:
    log_s, Y, subset = problem()
    result = log_rests(log_s, Y, subset if known else None)
    torch.testing.assert_close(result, plain(log_s, Y), rtol=1e-14, atol=1e-14)
    # An empty rest has no gradient.
    weights = torch.randn(result.shape, dtype=torch.float64) * result.isfinite()
    grads, expected = (
        torch.autograd.grad((values.nan_to_num(neginf=0.0) * weights).sum(), (log_s, Y))
        for values in (result, plain(log_s, Y + 1e-300))
    )
    for grad, reference in zip(grads, expected, strict=True):
        torch.testing.assert_close(grad, reference, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("known", [True, False])
def test_any_scale(known: bool) -> None:
    log_s, Y, subset = problem(scale=1e4)
    result = log_rests(log_s, Y, subset if known else None)
    for row, of_row, values in zip(subset, result, log_s, strict=True):
        for k, value in enumerate(of_row.tolist()):
            rest = values[row > k].tolist()  # the largest outweighs all others
            assert value == pytest.approx(max(rest, default=-math.inf), rel=1e-12)
    weights = torch.where(result.isfinite(), 1.0, 0.0)
    for grad in torch.autograd.grad((result.nan_to_num(neginf=0.0) * weights).sum(), (log_s, Y)):
        assert grad.float().isfinite().all()


def test_second_derivatives() -> None:
    log_s, Y, subset = problem()
    rows = slice(0, 1)  # the rest is never empty
    inputs = tuple(x[rows].detach().requires_grad_() for x in (log_s, Y))
    assert torch.autograd.gradgradcheck(lambda a, y: log_rests(a, y, subset[rows]), inputs)


@pytest.mark.parametrize("known", [True, False])
def test_a_graph_of_the_gradients_does_not_change_them(known: bool) -> None:
    """Where the matrix depends on the scores, it has a part of its own in the derivative."""
    log_s, _, subset = problem()
    one_hot = F.one_hot(subset[0], 4).mT.double()
    grads = []
    for create_graph in (False, True):
        x = log_s[0].detach().requires_grad_()
        y = one_hot + 0 * x + (x - x.detach())  # as after a draw
        value = log_rests(x, y, subset[0] if known else None).sum()
        grads.append(torch.autograd.grad(value, x, create_graph=create_graph)[0])
    torch.testing.assert_close(*grads)
