# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Pretraining that makes clusters which tell most of an image and bear small changes of it.

The clusters are to be certain for every image and of the same size over all images, which is to
have the most mutual information with the images; and no change of the pixels that is small
beside the distance of neighboring images is to move an image into another cluster, not even the
worst. No labels are used.

References:
    Hu, W., Miyato, T., Tokui, S., Matsumoto, E., Sugiyama, M.: Learning discrete representations
    via information maximizing self-augmented training. ICML 2017.

    Miyato, T., Maeda, S., Koyama, M., Ishii, S.: Virtual adversarial training. IEEE TPAMI 2019.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from torch import Tensor, nn

from models.vc.embedding import EmbeddingTraining
from models.vc.networks import encode
from models.vc.pretrain import reconstruction_loss

__all__ = ["InformationTraining", "information_loss", "log_assignment", "worst_change"]

# Both as in Hu et al.
_BALANCE = 4.0
_LENGTH = 0.25  # of the changes, in distances to the last neighbor


def log_assignment(points: Tensor, centers: Tensor) -> Tensor:
    r"""Log-probabilities of the clusters, proportional to :math:`1 / (1 + |z - \mu_k|^2)`.

    Args:
        points: Shape ``(n, l)``.
        centers: Shape ``(K, l)``.

    Returns:
        Shape ``(n, K)``.
    """
    return (-torch.cdist(points, centers).square().log1p()).log_softmax(-1)


def information_loss(log_probs: Tensor, balance: float = 1.0) -> Tensor:
    """Entropy of the clusters given the image, minus ``balance`` times that over all images.

    With ``balance = 1`` this is minus the mutual information.

    Args:
        log_probs: Log-probabilities of the clusters, shape ``(n, K)``.
        balance: Weight of the second term.
    """
    probs = log_probs.exp()
    shares = probs.mean(0)
    return -(probs * log_probs).sum(-1).mean() + balance * torch.xlogy(shares, shares).sum()


def worst_change(
    log_probs: Callable[[Tensor], Tensor], images: Tensor, probs: Tensor, length: Tensor
) -> Tensor:
    """Changes of the images that move their clusters most, found by one step of power iteration.

    Args:
        log_probs: From images to log-probabilities of the clusters, ``(n, K)``.
        images: Shape ``(n, 1, H, W)``.
        probs: Probabilities of their clusters, shape ``(n, K)``.
        length: Norms of the changes, shape ``(n,)``.

    Returns:
        Shape ``(n, 1, H, W)``.
    """
    change = _normalized(torch.randn_like(images)).requires_grad_()
    moved = F.kl_div(log_probs(images + change), probs, reduction="batchmean")
    (slope,) = torch.autograd.grad(moved, change)
    return _normalized(slope) * length.view(-1, *(1,) * (images.dim() - 1))


def _normalized(images: Tensor) -> Tensor:
    return F.normalize(images.flatten(1), eps=1e-20).view_as(images)


class InformationTraining(EmbeddingTraining):
    """Trains the latent means of augmented images to be certain of their cluster.

    Args:
        num_clusters: Number ``K`` of clusters, which begin as those of k-means.
        seed: Seed of k-means.
        kwargs: As for :class:`~models.vc.embedding.EmbeddingTraining`.
    """

    length: Tensor

    def __init__(self, *, num_clusters: int, seed: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        points = encode(self.network.encoder, self.images).numpy()
        clusters = KMeans(num_clusters, n_init=10, random_state=seed).fit(points)
        self.centers = nn.Parameter(torch.as_tensor(clusters.cluster_centers_))

    def on_train_start(self) -> None:
        """Find the neighbors, and how far images may be changed."""
        super().on_train_start()
        to_last = self.images - self.images[self.neighbors[:, -1]]
        self.length = _LENGTH * to_last.flatten(1).norm(dim=-1)

    def training_step(self, batch: tuple[Tensor], batch_idx: int) -> Tensor:
        """Give the loss for images of the indices ``(n,)``."""
        (index,) = batch
        views = self.augment(self.images[index])
        loc, decoded = self.coded(views)
        log_probs = log_assignment(loc, self.centers)
        probs = log_probs.detach().exp()
        change = worst_change(self._log_probs, views, probs, self.length[index])
        changed = self._log_probs(views + change)
        return self.log_sum(
            len(index),
            smoothness=F.kl_div(changed, probs, reduction="batchmean"),
            information=information_loss(log_probs, _BALANCE),
            reconstruction=self.reconstruction_weight * reconstruction_loss(decoded, views),
        )

    def _log_probs(self, images: Tensor) -> Tensor:
        return log_assignment(self.means(images), self.centers)
