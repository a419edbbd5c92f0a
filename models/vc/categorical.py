# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""DRPM-VC without its partition: every image picks a cluster on its own, and all else is the same.

Both take what :mod:`models.vc.model` does. As there, the clusters are those of the originals, where
images are changed at random; in VaDE (:mod:`models.vc.baselines`) a changed image picks one anew.
"""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.nn import PyroModule
from torch import Tensor, nn

from models.vc.priors import ClusterPriors
from models.vc.subset_normal import SubsetNormal, divergences

__all__ = ["CategoricalVCGuide", "CategoricalVCModel"]


class CategoricalVCModel(PyroModule):
    r"""Generative story of a batch of ``n`` images.

    .. math::
        c_i &\sim \mathrm{Categorical}(\omega) \\
        z_i | c_i &\sim N(\mu_{c_i}, \mathrm{diag}(\sigma_{c_i}^2)) \\
        x_i | z_i &\sim \mathrm{Bernoulli}(\mathrm{decoder}(z_i))

    Args:
        decoder: Network from latent variables to logits of the pixels.
        priors: The Gaussians and the weights ``omega`` of the clusters.
        beta: Weight of the divergence between ``q(z | x)`` and ``p(z | c)``.
    """

    def __init__(self, decoder: nn.Module, priors: ClusterPriors, beta: float = 1.0) -> None:
        super().__init__()
        self.decoder = decoder
        self.priors = priors
        self.beta = beta

    def forward(self, inputs: Tensor, images: Tensor, originals: Tensor | None = None) -> None:
        """Sample the sites ``c`` ``(n, K)``, ``z`` ``(n, l)`` and ``x`` ``(n, H * W)``."""
        priors = self.priors
        with pyro.plate("images", len(images)):
            cluster = pyro.sample("c", dist.OneHotCategorical(logits=priors.log_weight))
            with poutine.scale(scale=self.beta):
                z = pyro.sample("z", SubsetNormal(cluster, priors.loc, priors.scale))
            # Pixels are grey values in [0, 1], which a validated Bernoulli would refuse.
            pixels = dist.Bernoulli(logits=self.decoder(z), validate_args=False)
            pyro.sample("x", pixels.to_event(1), obs=images.flatten(1))


class CategoricalVCGuide(PyroModule):
    r"""Approximate posterior of the clusters and the latent variables of a batch.

    .. math::
        q(c_i = k | X) \propto \omega_k \exp(-\beta \, KL[q(z | x_i) || N(\mu_k, \sigma_k)]),

    the best one for independent ``c`` and ``z``. No gradients reach it, although a loss with
    divergences in closed form asks for a law that passes them on.

    Args:
        encoder: Network from ``inputs`` to the mean and scale of ``q(z | x)``.
        priors: The Gaussians and the weights, the same object as in the model.
        beta: As in the model.
    """

    def __init__(self, encoder: nn.Module, priors: ClusterPriors, beta: float = 1.0) -> None:
        super().__init__()
        self.encoder = encoder
        self.priors = priors
        self.beta = beta

    def forward(self, inputs: Tensor, images: Tensor, originals: Tensor | None = None) -> None:
        """Sample the sites ``c`` ``(n, K)`` and ``z`` ``(n, l)``."""
        posterior = self.posterior(inputs)
        with torch.no_grad():
            of_originals = posterior if originals is None else self.posterior(originals)
            clusters = self.clusters(of_originals)
        with pyro.plate("images", len(images)):
            pyro.sample("c", clusters)
            with poutine.scale(scale=self.beta):
                pyro.sample("z", posterior)

    def posterior(self, inputs: Tensor) -> dist.Independent:
        """Give ``q(z | x)``, batch shape ``(n,)``."""
        return dist.Normal(*self.encoder(inputs)).to_event(1)

    def clusters(self, posterior: dist.Independent) -> dist.OneHotCategoricalStraightThrough:
        """Give ``q(c | X)``, batch shape ``(n,)``."""
        priors = self.priors
        distance = divergences(posterior, priors.loc, priors.scale)
        logits = priors.log_weight - self.beta * distance
        return dist.OneHotCategoricalStraightThrough(logits=logits)
