# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Pretraining that makes the latent means spectral coordinates of the graph of neighbors.

In these coordinates images are near if many short paths through the graph lead from one to the
other, and clusters that a few of its edges connect lie apart. No labels are used.

References:
    Ng, A. Y., Jordan, M. I., Weiss, Y.: On spectral clustering: analysis and an algorithm. NeurIPS
    2001.

    Shaham, U., Stanton, K., Li, H., Nadler, B., Basri, R., Kluger, Y.: SpectralNet: spectral
    clustering using deep neural networks. ICLR 2018. (A network for new points, trained on the cut
    itself instead of its eigenvectors.)
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from scipy import sparse
from scipy.sparse.linalg import eigsh
from torch import Tensor

from models.vc.embedding import EmbeddingTraining
from models.vc.pretrain import reconstruction_loss

__all__ = ["SpectralPretraining", "spectral_coordinates"]

_MAGNIFICATION = 8.0


def spectral_coordinates(neighbors: Tensor, dim: int, seed: int = 0) -> Tensor:
    r"""Coordinates of the items in a graph, all at the same distance from the origin.

    They are the rows of the eigenvectors of the largest eigenvalues of
    :math:`D^{-1/2} A D^{-1/2}`, scaled to the norm :math:`\sqrt{l}`, where two items that are
    neighbors of each other have an edge of weight :math:`A_{ij} = 1`, those of which one is a
    neighbor of the other an edge of weight 1/2, and :math:`D` has the sums of the weights.

    Args:
        neighbors: Indices of the neighbors of each item, shape ``(N, m)``.
        dim: Number ``l`` of coordinates, less than ``N``.
        seed: Seed of the iteration; eigenvectors are unique up to their signs.

    Returns:
        float32, shape ``(N, l)``.

    Example:
        >>> neighbors = torch.tensor([[1], [0], [3], [2]])  # two pairs
        >>> points = spectral_coordinates(neighbors, dim=2)
        >>> torch.cdist(points, points).round(decimals=4).tolist()[0]
        [0.0, 0.0, 2.0, 2.0]
    """
    number, degree = neighbors.shape
    rows = np.repeat(np.arange(number), degree)
    ones = np.ones(number * degree)
    graph = sparse.csr_matrix((ones, (rows, neighbors.numpy().ravel())), (number, number))
    graph = (graph + graph.T) / 2
    scale = sparse.diags(np.asarray(graph.sum(1)).ravel() ** -0.5)
    start = np.random.default_rng(seed).normal(size=number)
    _, vectors = eigsh(scale @ graph @ scale, k=dim, which="LA", v0=start)
    return math.sqrt(dim) * F.normalize(torch.as_tensor(vectors)).float()


class SpectralPretraining(EmbeddingTraining):
    """Trains the latent means of augmented images to be spectral coordinates of the images.

    Coordinates are magnified, so that clusters that are thin in some of them are not thinner than
    what latent variables have as noise.
    """

    coordinates: Tensor

    def on_train_start(self) -> None:
        """Find the neighbors, and the coordinates in their graph."""
        super().on_train_start()
        coordinates = spectral_coordinates(self.neighbors.cpu(), self.network.latent_dim)
        self.coordinates = _MAGNIFICATION * coordinates.to(self.device)

    def training_step(self, batch: tuple[Tensor], batch_idx: int) -> Tensor:
        """Give the loss for images of the indices ``(n,)``."""
        (index,) = batch
        views = self.augment(self.images[index])
        loc, decoded = self.coded(views)
        return self.log_sum(
            len(index),
            coordinates=F.mse_loss(loc, self.coordinates[index]) / _MAGNIFICATION**2,
            reconstruction=self.reconstruction_weight * reconstruction_loss(decoded, views),
        )
