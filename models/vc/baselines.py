# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""VaDE, the variational baseline of table 1; Gaussian mixtures need no more than scikit-learn."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import torch

from models.vc.clusters import ClusterGuide, ClusterModel
from models.vc.train import VariationalTraining

__all__ = ["OwnOptimizerVaDETraining", "VaDEGuide", "VaDEModel"]


class VaDEModel(ClusterModel):
    r"""Variational deep embedding (Jiang et al., 2017): every image picks its cluster on its own.

    .. math::
        z_i &\sim \sum_k \omega_k N(\mu_k, \Sigma_k) \\
        x_i | z_i &\sim \mathrm{decoder}(z_i)

    The cluster is summed out, which is what the optimal ``q(c | x) = p(c | z)`` amounts to.

    Arguments as for :class:`~models.vc.clusters.ClusterModel`.
    """

    def latent_prior(self, plate: pyro.plate) -> dist.MixtureSameFamily:
        """Give the mixture; its clusters have no site."""
        weights = dist.Categorical(logits=self.priors.log_weight)
        return dist.MixtureSameFamily(weights, self.priors.clusters)


class VaDEGuide(ClusterGuide):
    """Approximate posterior of the latent variables alone, as the clusters are summed out.

    Arguments as for :class:`~models.vc.clusters.ClusterGuide`; a changed image has the cluster that
    it looks like, not that of its original.
    """

    def sample_clusters(self, posterior: dist.Independent, plate: pyro.plate) -> None:
        """Sample nothing."""


class OwnOptimizerVaDETraining(VariationalTraining):
    """VaDE as its authors train it: Adam, decaying by 5 % every ten epochs."""

    def configure_optimizers(self) -> Any:
        trained = [p for p in self.parameters() if p.requires_grad]
        adam = torch.optim.Adam(trained, 2e-3, fused=True)
        return [adam], [torch.optim.lr_scheduler.StepLR(adam, step_size=10, gamma=0.95)]
