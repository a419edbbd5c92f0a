# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The guide of DRPM-VC that has a score for every cluster and image."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
from torch import nn

from models.vc.clusters import ClusterGuide
from models.vc.model import partitions
from models.vc.priors import ClusterPriors
from models.vc.sizes import SizePrior
from models.vc.subset_normal import divergences
from pyro_drpm import DRPM
from pyro_drpm.distributions import sizes_given_affinities
from pyro_drpm.infer import TracePartition_ELBO

__all__ = ["AffinityGuide", "particle_elbo"]


class AffinityGuide(ClusterGuide):
    r"""Approximate posterior of the partition and the latent variables of a batch.

    .. math::
        \log w_{ki} &= -\beta \, KL[q(z | x_i) || N(\mu_k, \Sigma_k)] \\
        q(Y | X) &= \mathrm{DRPM}(\text{affinities } w, \text{ sizes given } w)

    Given the sizes, the posterior of the partition is proportional to the product of the affinities
    :math:`w` of all images to their clusters; :meth:`pyro_drpm.DRPM.from_affinities` is close to
    that. The sizes are drawn from the law of the model, corrected for the affinities
    (:func:`pyro_drpm.distributions.sizes_given_affinities`). Nothing is learned but what
    encoder and priors learn.

    Args:
        encoder: Network from ``inputs`` to the mean and scale of ``q(z | x)``.
        priors: The Gaussians of the clusters, the same object as in the model.
        size_prior: Law of the sizes, the same object as in the model.
        beta: As in the model.
    """

    def __init__(
        self, encoder: nn.Module, priors: ClusterPriors, size_prior: SizePrior, beta: float = 1.0
    ) -> None:
        super().__init__(encoder, priors, beta)
        self.size_prior = size_prior
        self.num_partitions = 1

    def sample_clusters(self, posterior: dist.Independent, plate: pyro.plate) -> None:
        """Sample the site ``Y`` ``(1, K, n)``."""
        with partitions(self.num_partitions):
            pyro.sample("Y", self.partition(posterior))

    def partition(self, posterior: dist.Independent) -> DRPM:
        """Give ``q(Y | X)`` for latent posteriors of batch shape ``(n,)``."""
        distance = divergences(posterior, self.priors.clusters)
        log_w = -self.beta * distance.mT
        law = self.size_prior(log_w.shape[-1])
        return DRPM.from_affinities(log_w, sizes_given_affinities(law, log_w))


def particle_elbo(num_particles: int, **options: Any) -> TracePartition_ELBO:
    """The loss for such a guide: each particle has a partition and latent variables.

    Args:
        num_particles: Number of particles.
        options: As for :class:`~pyro_drpm.infer.TracePartition_ELBO`.
    """
    return TracePartition_ELBO(
        estimator="rloo",
        num_particles=num_particles,
        vectorize_particles=True,
        max_plate_nesting=1,
        **options,
    )
