# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""DRPM-VC without its partition: every image picks a cluster on its own, and all else is the same.

As there, the clusters are those of the originals, where images are changed at random; in VaDE
(:mod:`models.vc.baselines`) a changed image picks one anew.
"""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch

from models.vc.clusters import ClusterGuide, ClusterModel
from models.vc.subset_normal import SubsetNormal, divergences

__all__ = ["CategoricalVCGuide", "CategoricalVCModel"]


class CategoricalVCModel(ClusterModel):
    r"""Generative story of a batch of ``n`` images.

    .. math::
        c_i &\sim \mathrm{Categorical}(\omega) \\
        z_i | c_i &\sim N(\mu_{c_i}, \Sigma_{c_i}) \\
        x_i | z_i &\sim \mathrm{decoder}(z_i)

    Arguments as for :class:`~models.vc.clusters.ClusterModel`.
    """

    def latent_prior(self, plate: pyro.plate) -> SubsetNormal:
        """Sample the site ``c`` ``(n, K)``, and give ``p(z | c)``."""
        with plate:
            cluster = pyro.sample("c", dist.OneHotCategorical(logits=self.priors.log_weight))
        return SubsetNormal(cluster, self.priors.clusters)


class CategoricalVCGuide(ClusterGuide):
    r"""Approximate posterior of the clusters and the latent variables of a batch.

    .. math::
        q(c_i = k | X) \propto \omega_k \exp(-\beta \, KL[q(z | x_i) || N(\mu_k, \sigma_k)]),

    the best one for independent ``c`` and ``z``. No gradients reach it, although a loss with
    divergences in closed form asks for a law that passes them on.

    Arguments as for :class:`~models.vc.clusters.ClusterGuide`.
    """

    def sample_clusters(self, posterior: dist.Independent, plate: pyro.plate) -> None:
        """Sample the site ``c`` ``(n, K)``."""
        with torch.no_grad():
            clusters = self.clusters(posterior)
        with plate:
            pyro.sample("c", clusters)

    def clusters(self, posterior: dist.Independent) -> dist.OneHotCategoricalStraightThrough:
        """Give ``q(c | X)``, batch shape ``(n,)``."""
        priors = self.priors
        distance = divergences(posterior, priors.clusters)
        logits = priors.log_weight - self.beta * distance
        return dist.OneHotCategoricalStraightThrough(logits=logits)
