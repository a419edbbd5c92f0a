# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Pretraining that keeps neighbors together, and then makes clusters of them.

First every image is drawn towards the images that resemble it most and pushed away from the rest
of the batch, on the latent means themselves; then the means are drawn to the centers of their
clusters, whatever small shift or turn the image has undergone. The decoder learns to reconstruct
all along. No labels are used.

References:
    Böhm, J. N., Berens, P., Kobak, D.: Unsupervised visualization of image datasets using
    contrastive learning. ICLR 2023. (The kernel of the first loss.)

    Xie, J., Girshick, R., Farhadi, A.: Unsupervised deep embedding for clustering analysis. ICML
    2016. (The second loss.)

    Guo, X., Zhu, E., Liu, X., Yin, J.: Deep embedded clustering with data augmentation. ACML 2018.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from torch import Tensor, nn

from models.stages import per_epoch
from models.vc.networks import Autoencoder, encode
from models.vc.pretrain import reconstruction_loss

__all__ = [
    "ClusterTraining",
    "NeighborPretraining",
    "cluster_targets",
    "nearest_neighbors",
    "neighbor_loss",
    "soft_assignment",
]

_COMPONENTS = 64  # principal components in which neighbors are searched for


def nearest_neighbors(images: Tensor, number: int, seed: int = 0) -> Tensor:
    """Find the images that resemble every image most, by the cosine of their principal components.

    Args:
        images: Shape ``(N, 1, H, W)``.
        number: Number of neighbors; an image is none of its own.
        seed: Seed of the principal components, which are found by a randomised method.

    Returns:
        Indices, shape ``(N, number)``, the nearest first.
    """
    pixels = images.flatten(1).numpy()
    pca = PCA(min(_COMPONENTS, *pixels.shape), random_state=seed)
    points = F.normalize(torch.as_tensor(pca.fit_transform(pixels), dtype=torch.float32)).numpy()
    found = NearestNeighbors(n_neighbors=number, algorithm="brute").fit(points)
    return torch.as_tensor(found.kneighbors(return_distance=False))


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


def soft_assignment(points: Tensor, centers: Tensor) -> Tensor:
    """Probabilities of the clusters by the kernel of :func:`neighbor_loss`, shape ``(n, K)``.

    Args:
        points: Shape ``(n, l)``.
        centers: Shape ``(K, l)``.
    """
    kernel = 1 / (1 + torch.cdist(points, centers).square())
    return kernel / kernel.sum(-1, keepdim=True)


def cluster_targets(assignment: Tensor) -> Tensor:
    """Sharpen assignments ``(N, K)`` and balance the clusters (Xie et al., equation 3)."""
    sharp = assignment.square() / assignment.sum(0)
    return sharp / sharp.sum(-1, keepdim=True)


class _AutoencoderTraining(LightningModule):
    """Trains an autoencoder with Adam at a learning rate that falls to 0.

    Args:
        network: Encoder and decoder, trained in place.
        images: All training images, shape ``(N, 1, H, W)``.
        augment: Random view of a batch of images.
        learning_rate: Of Adam, in the beginning.
        reconstruction_weight: Weight of the mean squared error.
    """

    images: Tensor

    def __init__(
        self,
        network: Autoencoder,
        images: Tensor,
        augment: nn.Module,
        learning_rate: float,
        reconstruction_weight: float,
    ) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("images", images, persistent=False)
        self.augment = augment
        self.learning_rate = learning_rate
        self.reconstruction_weight = reconstruction_weight

    def configure_optimizers(self) -> Any:
        adam = torch.optim.Adam(self.parameters(), self.learning_rate)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
        return [adam], [{"scheduler": schedule, "interval": "step"}]

    def _coded(self, views: Tensor) -> tuple[Tensor, Tensor]:
        """Latent means of views ``(n, 1, H, W)``, and what the decoder makes of them.

        In bfloat16, which costs a half to a third of the time.
        """
        with torch.autocast(views.device.type, torch.bfloat16):
            features = self.network.encoder.hidden(views)
            loc = self.network.encoder.heads.loc(features)
            return loc.float(), self.network.decoder(loc).float()

    def _log_sum(self, batch_size: int, **terms: Tensor) -> Tensor:
        loss = torch.stack(list(terms.values())).sum()
        self.log_dict({**terms, "loss": loss}, **per_epoch(batch_size))
        return loss


class NeighborPretraining(_AutoencoderTraining):
    """Trains the latent means of an image and of its neighbors, augmented, to be near each other.

    Args:
        num_neighbors: Number of neighbors that count as near.
        kwargs: See above.
    """

    neighbors: Tensor

    def __init__(self, *, num_neighbors: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_neighbors = num_neighbors

    def on_train_start(self) -> None:
        """Find the neighbors, unless the training is finished already."""
        found = nearest_neighbors(self.images.cpu(), self.num_neighbors)
        self.neighbors = found.to(self.device)

    def training_step(self, batch: tuple[Tensor], batch_idx: int) -> Tensor:
        """Give the loss for images of the indices ``(n,)``."""
        (index,) = batch
        near = self.neighbors[index]
        chosen = torch.randint(near.shape[-1], (len(index), 1), device=index.device)
        images = self.images[index]
        neighbors = self.images[near.gather(-1, chosen).squeeze(-1)]
        loc, decoded = self._coded(torch.cat([images, self.augment(neighbors)]))
        reconstruction = reconstruction_loss(decoded, torch.cat([images, neighbors]))
        return self._log_sum(
            len(index),
            neighbors=neighbor_loss(*loc.chunk(2)),
            reconstruction=self.reconstruction_weight * reconstruction,
        )


class ClusterTraining(_AutoencoderTraining):
    """Draws the latent means of augmented images to the centers of their clusters.

    The clusters of the images as they are make the targets, anew in every epoch.

    Args:
        num_clusters: Number ``K`` of clusters, which begin as those of k-means.
        seed: Seed of k-means.
        kwargs: See above.
    """

    targets: Tensor

    def __init__(self, *, num_clusters: int, seed: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        points = encode(self.network.encoder, self.images).numpy()
        clusters = KMeans(num_clusters, n_init=10, random_state=seed).fit(points)
        self.centers = nn.Parameter(torch.as_tensor(clusters.cluster_centers_))

    def on_train_epoch_start(self) -> None:
        """Set the targets."""
        points = encode(self.network.encoder, self.images)
        self.targets = cluster_targets(soft_assignment(points, self.centers.detach()))

    def training_step(self, batch: tuple[Tensor], batch_idx: int) -> Tensor:
        """Give the loss for images of the indices ``(n,)``."""
        (index,) = batch
        views, targets = self.augment(self.images[index]), self.targets[index]
        loc, decoded = self._coded(views)
        assignment = soft_assignment(loc, self.centers)
        reconstruction = reconstruction_loss(decoded, views)
        return self._log_sum(
            len(index),
            clusters=F.kl_div(assignment.log(), targets, reduction="batchmean"),
            reconstruction=self.reconstruction_weight * reconstruction,
        )
