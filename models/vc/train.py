# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Training of DRPM-VC and of any other Pyro model and guide that clusters in a latent space."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from pyro.infer.elbo import ELBO
from pyro.nn import PyroModule
from torch import Tensor, nn

from models.training.losses import LossTraining
from models.training.schedule import Schedule, scheduled
from models.training.seeds import derive_seed
from models.vc.clusters import ClusterGuide
from models.vc.model import DRPMVCModel
from models.vc.networks import Autoencoder, encode
from models.vc.priors import ClusterPriors, fit_mixture
from pyro_drpm.infer import ExponentialAnnealing, temperature

__all__ = ["DRPMVCTraining", "GrowingBeta", "VariationalTraining"]


class VariationalTraining(LossTraining):
    """Minimises the negative ELBO of a model and a guide, per image, with AdamW.

    Args:
        network: Encoder and decoder that model and guide use.
        priors: Priors that they use.
        model: Called with a batch ``(inputs, images)``, or with ``(views, views, images)`` where
            images are changed.
        guide: Likewise.
        elbo: The loss.
        learning_rate: Of AdamW.
        schedule: Whether it falls.
        augment: Random view of a batch of images, which the encoder reads and the decoder is to
            explain; none if the encoder reads something else than the images.
    """

    def __init__(
        self,
        network: Autoencoder,
        priors: ClusterPriors,
        model: PyroModule,
        guide: PyroModule,
        elbo: ELBO,
        learning_rate: float,
        schedule: Schedule = "constant",
        augment: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.priors = priors
        self.objective = elbo(model, guide)
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.augment = augment

    def changed(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Give what model and guide take for a batch ``(inputs, images)``."""
        if self.augment is None:
            return batch
        _, images = batch
        views = self.augment(images)
        return views, views, images

    def losses(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Give the negative ELBO per image."""
        return {"loss": self.objective(*batch) / len(batch[0])}

    def configure_optimizers(self) -> OptimizerLRScheduler:
        trained = [p for p in self.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, self.learning_rate, fused=True)
        return scheduled(optimizer, self.schedule, self.num_steps)


@dataclass(frozen=True)
class GrowingBeta:
    """Weight of the divergence of the latent variables, which may grow from a tenth.

    Attributes:
        most: The weight in the end.
        steps: Steps in which it grows; 0 for no growth.

    Example:
        >>> beta = GrowingBeta(2.0, steps=4)
        >>> beta(torch.arange(6))
        tensor([0.2000, 0.6500, 1.1000, 1.5500, 2.0000, 2.0000])
    """

    most: float
    steps: int

    def __call__(self, step: Tensor) -> Tensor | float:
        if not self.steps:
            return self.most
        return self.most * (0.1 + 0.9 * step / self.steps).clamp(max=1.0)


class DRPMVCTraining(VariationalTraining):
    """Training of DRPM-VC: the temperature falls, beta may grow, and the priors may be refitted.

    Args:
        model: As for :class:`VariationalTraining`.
        guide: Likewise.
        kwargs: Likewise.
        annealing: Temperature of every step.
        beta: Weight of the divergence of the latent variables in every step.
        refit_every: Epochs after which the priors are set to a Gaussian mixture of the latent
            means; 0 for never.
        refit_inputs: What the encoder of the guide reads of all training images, for the refit.
        seed: Seed of the run.
    """

    refit_inputs: Tensor

    def __init__(
        self,
        *,
        model: DRPMVCModel,
        guide: ClusterGuide,
        annealing: ExponentialAnnealing,
        beta: Callable[[Tensor], Tensor | float],
        refit_every: int,
        refit_inputs: Tensor,
        seed: int,
        **kwargs: Any,
    ) -> None:
        super().__init__(model=model, guide=guide, **kwargs)
        self.parts = model, guide  # registered as parts of the objective
        self.annealing = annealing
        self.beta = beta
        self.refit_every = refit_every
        self.register_buffer("refit_inputs", refit_inputs, persistent=False)
        self.seed = seed

    def on_train_epoch_start(self) -> None:
        """Refit the priors if it is time."""
        epoch = self.current_epoch
        if self.refit_every and epoch and epoch % self.refit_every == 0:
            self.refit_priors(derive_seed(self.seed, "refit", epoch))

    def losses(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Give the loss of a batch at the temperature of the step."""
        beta = self.beta(self.step)
        for part in self.parts:
            part.beta = beta
        with temperature(self.annealing(self.step)):
            return super().losses(batch)

    def refit_priors(self, seed: int) -> None:
        """Set the priors to a Gaussian mixture of the latent means.

        All tensors stay the same objects, so that they go on training; the optimiser forgets the
        moments of the parameters' old values.
        """
        means = encode(self.parts[1].encoder, self.refit_inputs)
        self.priors.copy_from(fit_mixture(means, len(self.priors.loc), seed))
        (optimizer,) = self.trainer.optimizers
        for parameter in self.priors.parameters():
            for moment in optimizer.state.get(parameter, {}).values():
                moment.zero_()
