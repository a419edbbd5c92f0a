# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""VaDE, the variational baseline of table 1; Gaussian mixtures need no more than scikit-learn."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.nn import PyroModule
from torch import Tensor, nn

from models.vc.priors import ClusterPriors
from models.vc.train import VariationalTraining

__all__ = ["OwnOptimizerVaDETraining", "VaDEGuide", "VaDEModel"]


class VaDEModel(PyroModule):
    r"""Variational deep embedding (Jiang et al., 2017): every image picks its cluster on its own.

    .. math::
        z_i &\sim \sum_k \omega_k N(\mu_k, \mathrm{diag}(\sigma_k^2)) \\
        x_i | z_i &\sim \mathrm{Bernoulli}(\mathrm{decoder}(z_i))

    The cluster is summed out, which is what the optimal ``q(c | x) = p(c | z)`` amounts to.

    Args:
        decoder: Network from latent variables to logits of the pixels.
        priors: The Gaussians and the weights of the clusters.
        beta: Weight of the divergence between ``q(z | x)`` and the mixture.
    """

    def __init__(self, decoder: nn.Module, priors: ClusterPriors, beta: float = 1.0) -> None:
        super().__init__()
        self.decoder = decoder
        self.priors = priors
        self.beta = beta

    def forward(self, inputs: Tensor, images: Tensor, originals: Tensor | None = None) -> None:
        """Sample the sites ``z`` ``(n, l)`` and ``x`` ``(n, H * W)``."""
        priors = self.priors
        clusters = dist.Normal(priors.loc, priors.scale).to_event(1)
        mixture = dist.MixtureSameFamily(dist.Categorical(logits=priors.log_weight), clusters)
        with pyro.plate("images", len(images)):
            with poutine.scale(scale=self.beta):
                z = pyro.sample("z", mixture)
            # Pixels are grey values in [0, 1], which a validated Bernoulli would refuse.
            pixels = dist.Bernoulli(logits=self.decoder(z), validate_args=False)
            pyro.sample("x", pixels.to_event(1), obs=images.flatten(1))


class VaDEGuide(PyroModule):
    """Approximate posterior of the latent variables.

    Args:
        encoder: Network from ``inputs`` to the mean and scale of ``q(z | x)``.
        beta: As in the model.
    """

    def __init__(self, encoder: nn.Module, beta: float = 1.0) -> None:
        super().__init__()
        self.encoder = encoder
        self.beta = beta

    def forward(self, inputs: Tensor, images: Tensor, originals: Tensor | None = None) -> None:
        """Sample the site ``z`` ``(n, l)``."""
        posterior = dist.Normal(*self.encoder(inputs)).to_event(1)
        with pyro.plate("images", len(images)), poutine.scale(scale=self.beta):
            pyro.sample("z", posterior)


class OwnOptimizerVaDETraining(VariationalTraining):
    """VaDE as its authors train it: Adam, decaying by 5 % every ten epochs."""

    def configure_optimizers(self) -> Any:
        adam = torch.optim.Adam((p for p in self.parameters() if p.requires_grad), 2e-3)
        return [adam], [torch.optim.lr_scheduler.StepLR(adam, step_size=10, gamma=0.95)]
