# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Losses of the pretraining with neighbors, against their definitions."""

from __future__ import annotations

import math

import pytest
import torch

from models.vc.neighbors import nearest_neighbors, neighbor_loss


def test_neighbors_are_those_of_largest_cosine() -> None:
    torch.manual_seed(0)
    images = torch.rand(40, 1, 5, 5)
    points = images.flatten(1) - images.flatten(1).mean(0)  # all components are kept
    cosine = torch.nn.functional.cosine_similarity(points.unsqueeze(1), points.unsqueeze(0), dim=-1)
    expected = cosine.fill_diagonal_(-1).argsort(-1, descending=True)[:, :3]
    assert torch.equal(nearest_neighbors(images, 3), expected)


def test_neighbor_loss_is_its_definition() -> None:
    torch.manual_seed(0)
    first, second = torch.randn(3, 2, dtype=torch.double), torch.randn(3, 2, dtype=torch.double)
    points = torch.cat([first, second]).tolist()

    def kernel(i: int, j: int) -> float:
        return 1 / (1 + math.dist(points[i], points[j]) ** 2)

    losses = []
    for i in range(6):
        others = sum(kernel(i, j) for j in range(6) if j != i)
        losses.append(-math.log(kernel(i, (i + 3) % 6) / others))
    assert float(neighbor_loss(first, second)) == pytest.approx(sum(losses) / 6)
