# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Pretraining of the autoencoder: contrastive, or by reconstruction alone.

The contrastive pretraining is that of the paper's appendix C.1: instances are contrasted on one
head, clusters on another, and the decoder learns to reconstruct from the latent means. The paper
sums the mean squared error of an image over the batch, which outweighs all other terms by the
hundreds; ``reconstruction_weight`` multiplies its mean over the batch instead, so the published
weighting is ``reconstruction_weight = batch size``. With ``input_noise`` the encoder sees noisy
pixels, which regularises small images more than stronger geometric augmentations do; the paper has
none.
"""

from __future__ import annotations

import math
from functools import partial

import torch
import torch.nn.functional as F
from kornia import augmentation
from torch import Tensor, nn
from torch.distributions import Distribution

from models.training.losses import LossTraining
from models.vc.networks import Autoencoder, Layers, Precision

__all__ = [
    "ContrastivePretraining",
    "ReconstructionPretraining",
    "balance_loss",
    "contrastive_loss",
    "make_augmentation",
]


def contrastive_loss(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """InfoNCE of two views (Chen et al., 2020): row ``i`` of one belongs to row ``i`` of the other.

    All other rows of both views are negatives; similarity is the cosine.

    Args:
        first: Shape ``(n, d)``.
        second: Shape ``(n, d)``.
        temperature: Of the softmax, positive.
    """
    n = len(first)
    views = F.normalize(torch.cat([first, second]), dim=1)
    similarity = views @ views.mT / temperature
    similarity.fill_diagonal_(-torch.inf)
    partner = torch.arange(2 * n, device=views.device).roll(n)
    return F.cross_entropy(similarity, partner)


def balance_loss(assignment: Tensor) -> Tensor:
    """``log K`` minus the entropy of the mean assignment; zero for clusters of equal size.

    Args:
        assignment: Probabilities of the clusters, shape ``(n, K)``.
    """
    shares = assignment.mean(0)
    return math.log(len(shares)) + torch.xlogy(shares, shares).sum()


def reconstruction_loss(decoded: Distribution, images: Tensor) -> Tensor:
    """Mean squared error of the means of the decoded values, mean over values and batch."""
    return F.mse_loss(decoded.mean, images.flatten(1))


class _OneOf(nn.Module):
    """Applies one of two augmentations, chosen for every image on its own."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, images: Tensor) -> Tensor:
        coin = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5
        return torch.where(coin, self.first(images), self.second(images))


def make_augmentation(dataset: str, shape: tuple[int, ...], small: bool = False) -> nn.Module:
    """Random views of images ``(n, C, H, W)``; of features, they themselves.

    The paper's for (Fashion-)MNIST. The digits of 8 x 8 pixels bear less, and so may images of
    one's own: they are rotated by up to 10 degrees, shifted by up to a sixteenth, scaled by up to a
    tenth and sheared by up to 5 degrees. ``small`` asks for changes of that kind of the larger
    images as well, with shifts of up to a tenth of the image and shears of up to 10 degrees.

    Args:
        dataset: Name of the dataset.
        shape: ``(C, H, W)`` of images or ``(D,)`` of features.
        small: Whether to change images but a little.
    """
    if len(shape) == 1:
        return nn.Identity()
    if dataset in {"digits", "own"}:
        return augmentation.RandomAffine(10, (1 / 16, 1 / 16), (0.9, 1.1), shear=5.0, p=1.0)
    if small:
        return augmentation.RandomAffine(10, (0.1, 0.1), (0.9, 1.1), shear=10.0, p=1.0)
    resized_crop = partial(
        augmentation.RandomResizedCrop, (shape[1], shape[2]), p=1.0, cropping_mode="resample"
    )
    if dataset == "mnist":
        affine = augmentation.RandomAffine(30, (0.2, 0.2), (0.75, 1.25), shear=10.0, p=1.0)
        return _OneOf(affine, resized_crop(scale=(0.5, 1.2), ratio=(0.8, 1.2)))
    return nn.Sequential(
        resized_crop(scale=(0.2, 1.0)),
        augmentation.RandomHorizontalFlip(),
        augmentation.RandomGaussianBlur((3, 3), (0.1, 2.0), p=1.0),
    )


class ReconstructionPretraining(LossTraining):
    """Trains the autoencoder to reconstruct from the latent means.

    Args:
        network: Encoder and decoder, trained in place.
        learning_rate: Of Adam.
    """

    def __init__(self, network: Autoencoder, learning_rate: float) -> None:
        super().__init__()
        self.network = network
        self.learning_rate = learning_rate

    def losses(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Give the mean squared error of a batch of images ``(n, 1, H, W)``."""
        (images,) = batch
        loc, _ = self.network.encoder(images)
        return {"loss": reconstruction_loss(self.network.decoder(loc), images)}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), self.learning_rate, fused=True)


class ContrastivePretraining(LossTraining):
    """Trains the autoencoder on images and their augmentations.

    Args:
        network: Encoder and decoder, trained in place.
        augment: Random view of a batch of images.
        num_clusters: Number ``K`` of clusters.
        learning_rate: Of Adam.
        reconstruction_weight: Weight of the mean squared error.
        input_noise: Standard deviation of the noise on the pixels that the encoder sees; the
            decoder is to reconstruct them without.
        instance_temperature: Temperature of the contrast between images.
        cluster_temperature: Temperature of the contrast between clusters.
    """

    def __init__(
        self,
        network: Autoencoder,
        augment: nn.Module,
        num_clusters: int,
        learning_rate: float,
        reconstruction_weight: float = 1.0,
        input_noise: float = 0.0,
        instance_temperature: float = 0.5,
        cluster_temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.network = network
        self.augment = augment
        features, latent_dim = network.encoder.heads.loc.in_features, network.latent_dim
        precision = network.precision
        self.instance_head = _projection(features, latent_dim, precision)
        self.cluster_head = _projection(features, num_clusters, precision)
        self.learning_rate = learning_rate
        self.reconstruction_weight = reconstruction_weight
        self.input_noise = input_noise
        self.instance_temperature = instance_temperature
        self.cluster_temperature = cluster_temperature

    def changed(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Add views to a batch of images ``(n, 1, H, W)``."""
        (images,) = batch
        return images, self.augment(images)

    def losses(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Give the sum of all terms for images and their views, ``(n, 1, H, W)``."""
        views = torch.cat(batch)
        seen = views + self.input_noise * torch.randn_like(views) if self.input_noise else views
        features = self.network.encoder.hidden(seen)
        loc = self.network.encoder.heads.loc(features)
        first, second = self.instance_head(features).chunk(2)
        clusters, other_clusters = self.cluster_head(features).softmax(-1).chunk(2)
        terms = {
            "instances": contrastive_loss(first, second, self.instance_temperature),
            "clusters": contrastive_loss(clusters.mT, other_clusters.mT, self.cluster_temperature),
            "balance": balance_loss(clusters) + balance_loss(other_clusters),
            "reconstruction": reconstruction_loss(self.network.decoder(loc), views)
            * self.reconstruction_weight,
        }
        return {**terms, "loss": torch.stack(list(terms.values())).sum()}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), self.learning_rate, fused=True)


def _projection(num_features: int, outputs: int, precision: Precision) -> Layers:
    """Head ``f - f - GELU - outputs``."""
    first, last = nn.Linear(num_features, num_features), nn.Linear(num_features, outputs)
    return Layers(first, nn.GELU(), last, precision=precision)
