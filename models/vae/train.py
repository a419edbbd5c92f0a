# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Training of DRPM-VAE and of the methods that it is compared with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from models.data import PairSource
from models.training.losses import ObjectiveTraining
from models.training.schedule import scheduled
from models.vae.config import Config
from models.vae.model import PairGuide, PairModel
from models.vae.networks import Decoder, Encoder
from models.vae.sharing import (
    AdaSharing,
    HypergeometricSharing,
    LabelSharing,
    Method,
    PartitionSharing,
    Sharing,
)
from pyro_drpm.infer import ExponentialAnnealing, TracePartition_ELBO, temperature

__all__ = ["PairBatches", "PairTraining", "make_sharing"]


@dataclass(frozen=True)
class PairBatches:
    """Batches of pairs of images, as many as an epoch has steps.

    Attributes:
        source: The pairs.
        batch_size: Pairs of a batch.
        steps: Number of batches.
    """

    source: PairSource
    batch_size: int
    steps: int

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Tensor]:
        for _ in range(self.steps):
            yield self.source.sample(self.batch_size).images


class PairTraining(ObjectiveTraining):
    """Minimises the negative ELBO per pair with Adam.

    Args:
        config: Settings of the run.
        method: How dims become shared.
        image_shape: Channels, height and width.
    """

    def __init__(self, config: Config, method: Method, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.learning_rate = config.learning_rate
        self.average = config.average
        self.schedule = config.schedule
        self.num_steps = config.epochs * config.steps_per_epoch
        self.annealing = ExponentialAnnealing(1.0, 0.5, steps=self.num_steps)
        width, features, latent_dim = config.width, config.num_features, config.latent_dim
        self.encoder = Encoder(image_shape, width, features, latent_dim)
        self.decoder = Decoder(latent_dim, features, width, image_shape)
        self.sharing = make_sharing(config, method)
        elbo = TracePartition_ELBO(config.bound, gamma=config.gamma, delta=config.delta)
        self.objective = elbo(
            PairModel(self.decoder, self.sharing, config.beta, config.shared_latents),
            PairGuide(
                self.encoder, self.sharing, config.beta, config.shared_latents, config.average
            ),
        )

    def training_step(self, images: Tensor, batch_idx: int) -> Tensor:
        """Give the loss of a batch ``(B, 2, C, H, W)`` at the temperature of the step."""
        with temperature(self.annealing(self.global_step)):
            return self.row_loss(images)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = torch.optim.Adam(self.parameters(), self.learning_rate)
        return scheduled(optimizer, self.schedule, self.num_steps)


def make_sharing(config: Config, method: Method) -> Sharing:
    """Give what decides about shared dims in a method."""
    if method == "drpm":
        return PartitionSharing(
            config.latent_dim,
            config.prior_log_odds,
            config.gradient,
            config.size_inputs,
            config.sizes,
            config.score_scale,
            config.prior_scores,
        )
    if method == "hg":
        return HypergeometricSharing(
            config.latent_dim,
            config.hg_prior_log_odds,
            config.gamma,
            config.size_inputs,
            config.hg_sizes,
        )
    return AdaSharing(config.latent_dim) if method == "ada" else LabelSharing(config.latent_dim)
