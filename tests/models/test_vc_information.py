# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Losses of the pretraining that makes clusters, against their definitions."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models.vc.information import information_loss, log_assignment, worst_change


def test_assignments_are_those_of_the_kernel() -> None:
    points, centers = torch.tensor([[0.0], [3.0]]), torch.tensor([[0.0], [2.0]])
    probs = log_assignment(points, centers).exp()
    # The kernel is 1 and 1/5 for the first point, 1/10 and 1/2 for the second.
    torch.testing.assert_close(probs, torch.tensor([[5 / 6, 1 / 6], [1 / 6, 5 / 6]]))


def test_information_is_that_of_the_joint_distribution() -> None:
    torch.manual_seed(0)
    log_probs = torch.randn(7, 3, dtype=torch.float64).log_softmax(-1)
    joint, information = log_probs.exp() / 7, 0.0
    for i in range(7):
        for k in range(3):
            p, shares = float(joint[i, k]), float(joint[:, k].sum())
            information += p * math.log(p / (shares / 7))
    assert float(information_loss(log_probs)) == pytest.approx(-information)


def test_certain_clusters_of_one_size_have_the_most_information() -> None:
    certain = F.one_hot(torch.arange(6) % 3, 3).float()
    loss = information_loss(certain.clamp(min=1e-30).log(), balance=4.0)
    assert float(loss) == pytest.approx(-4 * math.log(3))


def test_the_worst_change_goes_where_the_clusters_change() -> None:
    torch.manual_seed(0)
    images, length = torch.rand(4, 1, 3, 3), torch.tensor([0.1, 0.2, 0.3, 0.4])
    weight = torch.zeros(3, 3)
    weight[1, 2] = 1.0

    def log_probs(x: Tensor) -> Tensor:
        logit = (x.squeeze(1) * weight).sum((-2, -1))
        return torch.stack([F.logsigmoid(logit), F.logsigmoid(-logit)], -1)

    change = worst_change(log_probs, images, log_probs(images).exp(), length)
    expected = length.view(-1, 1, 1, 1) * weight
    torch.testing.assert_close(change.abs(), expected.expand_as(change))


def test_the_worst_change_moves_clusters_more_than_others() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(16, 30), torch.nn.Tanh(), torch.nn.Linear(30, 3)
    )
    images, length = torch.rand(50, 1, 4, 4), torch.full((50,), 0.5)

    def log_probs(x: Tensor) -> Tensor:
        return network(x).log_softmax(-1)

    probs = log_probs(images).detach().exp()

    def moved(change: Tensor) -> float:
        return float(F.kl_div(log_probs(images + change).detach(), probs, reduction="batchmean"))

    others = F.normalize(torch.randn(20, 50, 16), dim=-1).view(20, 50, 1, 4, 4) * 0.5
    worst = moved(worst_change(log_probs, images, probs, length))
    assert worst > 1.5 * max(moved(change) for change in others)
