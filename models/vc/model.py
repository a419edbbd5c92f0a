# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""DRPM-VC: the generative story (equations 47 to 50 of the paper).

A batch of images is partitioned into ``K`` clusters, every cluster has a Gaussian in the latent
space, and every image is decoded from its latent variable, see :mod:`models.vc.clusters`. The
partition is one of images, whatever they are changed into, and is inferred from their originals.

All expectations over partitions are means over ``L`` of them, drawn as one batch: the plate
``partitions`` of size ``L``, scaled by ``1 / L``. The latent variables come after it, once per
image, since their log density is linear in the partition.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pyro
from pyro import poutine
from torch import nn

from models.vc.clusters import ClusterModel
from models.vc.priors import ClusterPriors
from models.vc.sizes import SizePrior
from models.vc.subset_normal import SubsetNormal
from pyro_drpm import DRPM

__all__ = ["DRPMVCModel", "partitions"]


class DRPMVCModel(ClusterModel):
    r"""Generative story of a batch of ``n`` images.

    .. math::
        n_0, \dots, n_{K-1} &\sim p(n_0, \dots, n_{K-1}) \\
        Y | n_0, \dots, n_{K-1} &\sim \text{any of these sizes} \\
        z_i | Y &\sim N(\mu_{y_i}, \Sigma_{y_i}) \\
        x_i | z_i &\sim \mathrm{decoder}(z_i)

    Args:
        decoder: Network from latent variables to logits of the pixels.
        priors: The Gaussians of the clusters.
        size_prior: Law of the sizes; in the paper Fisher's, with the weights of the clusters.
        num_partitions: Number ``L`` of partitions per batch.
        beta: Weight of the divergence between ``q(z | x)`` and ``p(z | Y)``.
    """

    def __init__(
        self,
        decoder: nn.Module,
        priors: ClusterPriors,
        size_prior: SizePrior,
        num_partitions: int,
        beta: float = 1.0,
    ) -> None:
        super().__init__(decoder, priors, beta)
        self.size_prior = size_prior
        self.num_partitions = num_partitions

    def latent_prior(self, plate: pyro.plate) -> SubsetNormal:
        """Sample the site ``Y`` ``(L, K, n)``, and give the mean of ``p(z | Y)``."""
        equal = self.priors.loc.new_zeros(1).expand(plate.size)
        with partitions(self.num_partitions):
            Y = pyro.sample("Y", DRPM(sizes=self.size_prior(plate.size), log_s=equal))
        membership = Y.mean(-3).mT  # (n, K), for each particle
        return SubsetNormal(membership, self.priors.clusters)


@contextmanager
def partitions(number: int) -> Iterator[None]:
    """Plate of partitions whose terms are averaged."""
    with pyro.plate("partitions", number), poutine.scale(scale=1 / number):
        yield
