# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""DRPM-VAE: the generative story and the guide (equations 57 to 62 of the paper).

Two views ``v = 1, 2`` of a pair have latent variables of ``d`` dims, some of which they share. The
loss of a pair has the mean of both views' reconstructions, as in the paper, and half of the
divergence of the latent variables.

The paper counts the divergence of a shared dim twice, once for each view, as if each view had a
variable of its own with the same posterior. Then sharing a dim makes the loss no lower, and dims
are shared only as far as the prior asks for it. Here a shared dim is one variable by default, and
the loss counts it once: what the views have in common is cheaper to say once.
"""

from __future__ import annotations

import pyro
import pyro.distributions as dist
from pyro import poutine
from pyro.nn import PyroModule
from torch import Tensor, nn

from models.vae.pair_normal import SharedLatents, pair_normal
from models.vae.posteriors import Average, Posterior, aggregate, symmetric_divergence
from models.vae.sharing import Sharing

__all__ = ["PairGuide", "PairModel"]


class PairModel(PyroModule):
    r"""Generative story of pairs of images.

    .. math::
        c &\sim p(c) \\
        z_1, z_2 | c &\sim N(0, I) \text{ with } z_{1j} = z_{2j} \text{ where } c_j = 1 \\
        x_v | z_v &\sim \mathrm{Bernoulli}(\mathrm{decoder}(z_v))

    Args:
        decoder: Network from latent variables to logits of the pixels.
        sharing: The law of the indicators ``c`` of shared dims; for DRPM-VAE those of subset 1 of
            a random partition.
        beta: Weight of the divergence of the latent variables.
        shared_latents: Whether both views see one variable in a shared dim, as above, or two of
            the same posterior, see :func:`~models.vae.pair_normal.pair_normal`.
    """

    def __init__(
        self,
        decoder: nn.Module,
        sharing: Sharing,
        beta: float = 1.0,
        shared_latents: SharedLatents = "once",
    ) -> None:
        super().__init__()
        self.decoder = decoder
        self.sharing = sharing
        self.beta = beta
        self.shared_latents = shared_latents

    def forward(self, images: Tensor) -> None:
        """Sample the sites of the sharing, ``z`` ``(B, 2, d)`` and ``x`` ``(B, 2, C, H, W)``."""
        with pyro.plate("pairs", len(images)):
            shared = self.sharing.prior()
            zero = images.new_zeros(2, self.sharing.latent_dim)
            with poutine.scale(scale=0.5 * self.beta):
                prior = pair_normal(zero, zero + 1, shared, self.shared_latents)
                z = pyro.sample("z", prior)
            # Pixels are colour values in [0, 1], which a validated Bernoulli would refuse.
            pixels = dist.Bernoulli(logits=self.decoder(z), validate_args=False)
            with poutine.scale(scale=0.5):
                pyro.sample("x", pixels.to_event(4), obs=images)


class PairGuide(PyroModule):
    """Approximate posterior of the shared dims and the latent variables.

    Both views are encoded alone; in the dims that the divergences mark as shared, the average of
    both posteriors takes their place.

    Args:
        encoder: Network from images to means and variances.
        sharing: The same object as in the model.
        beta: As in the model.
        shared_latents: As in the model.
        average: The average of two posteriors, see :func:`~models.vae.posteriors.average`.
    """

    def __init__(
        self,
        encoder: nn.Module,
        sharing: Sharing,
        beta: float = 1.0,
        shared_latents: SharedLatents = "once",
        average: Average = "gvae",
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.sharing = sharing
        self.beta = beta
        self.shared_latents = shared_latents
        self.average = average

    def forward(self, images: Tensor) -> None:
        """Sample the sites of the sharing and ``z`` ``(B, 2, d)``."""
        views = Posterior(*self.encoder(images))
        with pyro.plate("pairs", len(images)):
            shared = self.sharing(symmetric_divergence(views))
            mean, variance = aggregate(views, shared, self.average)
            with poutine.scale(scale=0.5 * self.beta):
                posterior = pair_normal(mean, variance.sqrt(), shared, self.shared_latents)
                pyro.sample("z", posterior)
