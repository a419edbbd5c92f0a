# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Losses of the pretraining with neighbors, against their definitions."""

from __future__ import annotations

import math

import pytest
import torch

from models.vc.neighbors import (
    cluster_targets,
    nearest_neighbors,
    neighbor_loss,
    soft_assignment,
)


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


def test_soft_assignments_and_their_targets() -> None:
    points, centers = torch.tensor([[0.0], [2.0]]), torch.tensor([[0.0], [1.0]])
    assignment = soft_assignment(points, centers)
    torch.testing.assert_close(assignment, torch.tensor([[2 / 3, 1 / 3], [2 / 7, 5 / 7]]))
    sizes = 2 / 3 + 2 / 7, 1 / 3 + 5 / 7
    sharp = torch.tensor([[(2 / 3) ** 2 / sizes[0], (1 / 3) ** 2 / sizes[1]]])
    torch.testing.assert_close(cluster_targets(assignment)[:1], sharp / sharp.sum())


def test_targets_are_sharper_and_pull_towards_smaller_clusters() -> None:
    even = torch.tensor([[0.6, 0.4], [0.4, 0.6]])
    assert cluster_targets(even)[0, 0] > 0.6
    uneven = torch.tensor([[0.5, 0.5], [0.9, 0.1]])
    assert cluster_targets(uneven)[0, 1] > 0.5
