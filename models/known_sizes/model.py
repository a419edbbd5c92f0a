# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""A Gaussian mixture whose law of the sizes is anybody's choice, and its guide."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from torch import Tensor, nn

from pyro_drpm import DRPM
from pyro_drpm.distributions import SizeDistribution, sizes_given_affinities

__all__ = ["LEAST_SCALE", "Mixture", "MixtureGuide"]

LEAST_SCALE = 0.01


class Mixture(PyroModule):
    r"""Clusters with diagonal Gaussians, whose parameters are those of most evidence.

    .. math::
        Y &\sim \mathrm{DRPM}(\text{sizes}, 1) \\
        x_i | Y &\sim N(\mu_{y_i}, \mathrm{diag}(\sigma_{y_i}^2))

    Args:
        sizes: Law of the sizes of the ``K`` clusters.
        loc: Where the means start, shape ``(K, D)``.
        scale: Where the standard deviations start, likewise.
    """

    def __init__(self, sizes: SizeDistribution, loc: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.sizes = sizes
        self.loc = nn.Parameter(loc.clone())
        self.log_scale = nn.Parameter((scale - LEAST_SCALE).log())

    @property
    def scale(self) -> Tensor:
        """Standard deviations, above a least one, shape ``(K, D)``."""
        return LEAST_SCALE + self.log_scale.exp()

    def forward(self, points: Tensor) -> None:
        """Sample the sites ``Y`` ``(K, n)`` and ``x`` ``(n, D)``."""
        equal = torch.ones_like(points[:, 0])
        Y = pyro.sample("Y", DRPM(sizes=self.sizes, s=equal))
        clusters = dist.Normal(Y.mT @ self.loc, Y.mT @ self.scale)
        pyro.sample("x", clusters.to_event(2), obs=points)

    def log_densities(self, points: Tensor) -> Tensor:
        """Log density of every point under every cluster, shape ``(K, n)``."""
        clusters = dist.Normal(self.loc.unsqueeze(1), self.scale.unsqueeze(1))
        log_density: Tensor = clusters.log_prob(points).sum(-1)
        return log_density


class MixtureGuide(PyroModule):
    r"""Approximate posterior of the partition: affinities that the densities give, and corrections.

    .. math:: \log w_{ki} = \log N(x_i; \mu_k, \mathrm{diag}(\sigma_k^2)) + c_{ki}

    Args:
        mixture: The model.
        num_points: Number ``n`` of points.
    """

    def __init__(self, mixture: Mixture, num_points: int) -> None:
        super().__init__()
        self.mixture = mixture
        self.correction = nn.Parameter(mixture.loc.new_zeros(len(mixture.loc), num_points))

    def forward(self, points: Tensor) -> None:
        """Sample the site ``Y`` ``(K, n)``."""
        pyro.sample("Y", self.partition(points))

    def partition(self, points: Tensor) -> DRPM:
        """Give ``q(Y | x)``; its sizes are fixed where those of the model are."""
        log_w = self.mixture.log_densities(points) + self.correction
        return DRPM.from_affinities(log_w, sizes_given_affinities(self.mixture.sizes, log_w))
