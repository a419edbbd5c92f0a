# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Images in clusters of a latent space: what DRPM-VC and its variational baselines have in common.

Models and guides take ``(inputs, images)``: what the encoder reads, which are the features of
frozen hidden layers or the images themselves, and the images to be explained, ``(n, 1, H, W)``.
Where these are changed at random, a third argument ``originals`` has what the encoder reads of the
images as they were.
"""

from __future__ import annotations

from abc import abstractmethod

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions import TorchDistribution
from pyro.nn import PyroModule
from torch import Tensor, nn

from models.vc.priors import ClusterPriors

__all__ = ["ClusterGuide", "ClusterModel"]


class ClusterModel(PyroModule):
    r"""Generative story of a batch of ``n`` images; a subclass says where ``z`` comes from.

    .. math::
        z_i &\sim p(z_i | \text{clusters}) \\
        x_i | z_i &\sim \mathrm{decoder}(z_i)

    Args:
        decoder: Network from latent variables to the law of the values of an image.
        priors: The Gaussians and the weights ``omega`` of the clusters.
        beta: Weight of the divergence between ``q(z | x)`` and ``p(z | clusters)``.
    """

    def __init__(self, decoder: nn.Module, priors: ClusterPriors, beta: float = 1.0) -> None:
        super().__init__()
        self.decoder = decoder
        self.priors = priors
        self.beta: Tensor | float = beta

    @abstractmethod
    def latent_prior(self, plate: pyro.plate) -> TorchDistribution:
        """Sample the clusters of the images of a plate, and give ``p(z | clusters)``."""

    def forward(self, inputs: Tensor, images: Tensor, originals: Tensor | None = None) -> None:
        """Sample the sites of the clusters, ``z`` ``(n, l)`` and ``x`` ``(n, D)``."""
        plate = pyro.plate("images", len(images))
        prior = self.latent_prior(plate)
        with plate:
            with poutine.scale(scale=self.beta):
                z = pyro.sample("z", prior)
            pyro.sample("x", self.decoder(z), obs=images.flatten(1))


class ClusterGuide(PyroModule):
    """Approximate posterior of the clusters and the latent variables of a batch.

    The clusters are those of the originals, whatever the images are changed into.

    Args:
        encoder: Network from ``inputs`` to the mean and scale of ``q(z | x)``.
        priors: The Gaussians of the clusters, the same object as in the model.
        beta: As in the model.
    """

    def __init__(self, encoder: nn.Module, priors: ClusterPriors, beta: float = 1.0) -> None:
        super().__init__()
        self.encoder = encoder
        self.priors = priors
        self.beta: Tensor | float = beta

    @abstractmethod
    def sample_clusters(self, posterior: dist.Independent, plate: pyro.plate) -> None:
        """Sample the sites of the clusters, for ``q(z | x)`` of batch shape ``(n,)``."""

    def forward(self, inputs: Tensor, images: Tensor, originals: Tensor | None = None) -> None:
        """Sample the sites of the clusters and ``z`` ``(n, l)``."""
        posterior = self.posterior(inputs)
        with torch.no_grad():
            of_originals = posterior if originals is None else self.posterior(originals)
        plate = pyro.plate("images", len(images))
        self.sample_clusters(of_originals, plate)
        with plate, poutine.scale(scale=self.beta):
            pyro.sample("z", posterior)

    def posterior(self, inputs: Tensor) -> dist.Independent:
        """Give ``q(z | x)``, batch shape ``(n,)``."""
        return dist.Normal(*self.encoder(inputs)).to_event(1)
