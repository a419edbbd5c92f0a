# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Neighbors, spectral coordinates, and the loss of the pretraining, against their definitions."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from models.vc.embedding import neighbor_loss
from models.vc.neighbors import nearest_neighbors
from models.vc.priors import assign, fit_kmeans
from models.vc.spectral import spectral_coordinates
from pyro_drpm.metrics import cluster_accuracy


def test_neighbors_are_those_of_largest_cosine() -> None:
    torch.manual_seed(0)
    images = torch.rand(40, 1, 5, 5)
    points = images.flatten(1) - images.flatten(1).mean(0)  # all components are kept
    cosine = F.cosine_similarity(points.unsqueeze(1), points.unsqueeze(0), dim=-1)
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


def test_gradients_do_not_depend_on_light_and_contrast() -> None:
    torch.manual_seed(0)
    images = F.avg_pool2d(torch.rand(30, 3, 18, 24), 3, 1)
    darker = 0.1 + 0.3 * images
    found = nearest_neighbors(torch.cat([images, darker]), 1, resemblance="gradients")
    assert found.squeeze(-1).tolist() == [*range(30, 60), *range(30)]


def test_spectral_coordinates_are_those_of_a_dense_decomposition() -> None:
    """Up to their signs, which inner products do not know."""
    torch.manual_seed(0)
    neighbors = nearest_neighbors(torch.rand(60, 5), 4)
    weights = torch.zeros(60, 60, dtype=torch.double).scatter(1, neighbors, 1.0)
    weights = (weights + weights.mT) / 2
    scale = weights.sum(1).rsqrt()
    _, vectors = torch.linalg.eigh(scale.unsqueeze(1) * weights * scale)
    expected = F.normalize(vectors[:, -6:]) * math.sqrt(6)
    points = spectral_coordinates(neighbors, 6).double()
    torch.testing.assert_close(points @ points.mT, expected @ expected.mT, rtol=0, atol=1e-3)


def test_spectral_coordinates_tell_clusters_that_few_edges_connect() -> None:
    """Two rings around a disc, which k-means in the plane does not tell apart."""
    torch.manual_seed(0)
    angle, radius = 2 * math.pi * torch.rand(600), torch.tensor([0.0, 2.0, 4.0]).repeat(200)
    points = radius.unsqueeze(1) * torch.stack([angle.cos(), angle.sin()], 1)
    points += 0.1 * torch.randn(600, 2)
    coordinates = spectral_coordinates(nearest_neighbors(points, 20), 3)
    clusters = assign(fit_kmeans(coordinates, 3, seed=0), coordinates)
    assert cluster_accuracy(torch.arange(3).repeat(200), clusters) == 1.0
