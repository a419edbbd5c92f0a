# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Pretraining that keeps neighbors together, on the latent means themselves.

Every image is drawn towards the images that resemble it most and pushed away from the rest of the
batch, while the decoder learns to reconstruct. No labels are used. :mod:`models.vc.information`
makes clusters of what comes of it.

References:
    Böhm, J. N., Berens, P., Kobak, D.: Unsupervised visualization of image datasets using
    contrastive learning. ICLR 2023. (The kernel of the loss.)
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.distributions import Distribution

from models.training.losses import per_epoch
from models.training.schedule import scheduled
from models.vc.networks import Autoencoder
from models.vc.pretrain import reconstruction_loss

__all__ = ["EmbeddingTraining", "NeighborPretraining", "neighbor_loss"]


def neighbor_loss(first: Tensor, second: Tensor) -> Tensor:
    r"""InfoNCE with the heavy-tailed kernel :math:`1 / (1 + |a - b|^2)`.

    Row ``i`` of one belongs to row ``i`` of the other; all other rows of both are negatives.

    Args:
        first: Shape ``(n, l)``.
        second: Shape ``(n, l)``.
    """
    points, n = torch.cat([first, second]), len(first)
    similarity = -torch.cdist(points, points).square().log1p()
    similarity = similarity.masked_fill(torch.eye(2 * n, device=points.device).bool(), -torch.inf)
    return F.cross_entropy(similarity, torch.arange(2 * n, device=points.device).roll(n))


class EmbeddingTraining(LightningModule):
    """Trains an autoencoder with Adam at a learning rate that falls to 0.

    Args:
        network: Encoder and decoder, trained in place.
        images: All training images, shape ``(N, 1, H, W)``.
        find_neighbors: Gives the neighbors of all images, see
            :func:`~models.vc.neighbors.nearest_neighbors`; called when the training begins, unless
            it is finished already.
        augment: Random view of a batch of images.
        learning_rate: Of Adam, in the beginning.
        reconstruction_weight: Weight of the mean squared error.
    """

    images: Tensor
    neighbors: Tensor

    def __init__(
        self,
        network: Autoencoder,
        images: Tensor,
        find_neighbors: Callable[[], Tensor],
        augment: nn.Module,
        learning_rate: float,
        reconstruction_weight: float,
    ) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("images", images, persistent=False)
        self.find_neighbors = find_neighbors
        self.augment = augment
        self.learning_rate = learning_rate
        self.reconstruction_weight = reconstruction_weight

    def on_train_start(self) -> None:
        """Find the neighbors."""
        self.neighbors = self.find_neighbors().to(self.device)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        adam = torch.optim.Adam(self.parameters(), self.learning_rate, fused=True)
        return scheduled(adam, "cosine", int(self.trainer.estimated_stepping_batches))

    def means(self, views: Tensor) -> Tensor:
        """Latent means of views ``(n, 1, H, W)``."""
        return self.network.encoder(views)[0]

    def coded(self, views: Tensor) -> tuple[Tensor, Distribution]:
        """Latent means of views, and what the decoder makes of them."""
        loc = self.means(views)
        return loc, self.network.decoder(loc)

    def log_sum(self, batch_size: int, **terms: Tensor) -> Tensor:
        loss = torch.stack(list(terms.values())).sum()
        self.log_dict({**terms, "loss": loss}, **per_epoch(batch_size))
        return loss


class NeighborPretraining(EmbeddingTraining):
    """Trains the latent means of images and of their neighbors, augmented, to be near."""

    def training_step(self, batch: tuple[Tensor], batch_idx: int) -> Tensor:
        """Give the loss for images of the indices ``(n,)``."""
        (index,) = batch
        near = self.neighbors[index]
        chosen = torch.randint(near.shape[-1], (len(index), 1), device=index.device)
        images = self.images[index]
        neighbors = self.images[near.gather(-1, chosen).squeeze(-1)]
        loc, decoded = self.coded(torch.cat([images, self.augment(neighbors)]))
        reconstruction = reconstruction_loss(decoded, torch.cat([images, neighbors]))
        return self.log_sum(
            len(index),
            neighbors=neighbor_loss(*loc.chunk(2)),
            reconstruction=self.reconstruction_weight * reconstruction,
        )
