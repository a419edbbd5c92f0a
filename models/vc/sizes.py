# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""What is known beforehand of the sizes of the clusters in a batch."""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn

from models.vc.priors import ClusterPriors
from pyro_drpm import MultivariateFisherHypergeometric
from pyro_drpm.distributions import (
    DirichletMultinomialSizes,
    FixedSizes,
    PotentialSizes,
    SizeDistribution,
)

__all__ = [
    "DirichletSizes",
    "EqualSizes",
    "SizePrior",
    "SizePriorName",
    "WeightedSizes",
    "equal_sizes",
    "make_size_prior",
]

SizePriorName = Literal["equal", "dirichlet", "weighted"]


def equal_sizes(num_images: int, like: Tensor) -> FixedSizes:
    """Sizes that differ by at most one, the larger ones first.

    Args:
        num_images: Number ``n`` of images.
        like: Of shape ``(K,)``, with the dtype and device of the sizes.

    Example:
        >>> equal_sizes(8, torch.zeros(3)).sample()
        tensor([3., 3., 2.])
    """
    each, rest = divmod(num_images, len(like))
    is_larger = torch.arange(len(like), device=like.device) < rest
    return FixedSizes(each + is_larger.to(like.dtype), num_images)


class SizePrior(nn.Module):
    """Law of the sizes in a batch of any number of images.

    Args:
        priors: Those of the clusters.
    """

    def __init__(self, priors: ClusterPriors) -> None:
        super().__init__()
        self.priors = priors

    @abstractmethod
    def forward(self, num_images: int) -> SizeDistribution:
        """Give the law for ``n`` images."""


class EqualSizes(SizePrior):
    r"""Clusters of the same size, or nearly so.

    .. math:: p(n_1, \dots, n_K) \propto \prod_k \exp(-(n_k - n / K)^2 / (2 (\epsilon n / K)^2))

    Args:
        priors: Those of the clusters, for their number ``K``.
        spread: The :math:`\epsilon`; with 0 sizes differ by at most one, and the first are larger.

    Example:
        >>> EqualSizes(ClusterPriors(3, latent_dim=1))(8).sample()
        tensor([3., 3., 2.])
    """

    def __init__(self, priors: ClusterPriors, spread: float = 0.0) -> None:
        super().__init__(priors)
        self.spread = spread

    def forward(self, num_images: int) -> SizeDistribution:
        like = self.priors.log_weight
        if not self.spread:
            return equal_sizes(num_images, like)
        equal = num_images / len(like)
        counts = torch.arange(num_images + 1, dtype=like.dtype, device=like.device)
        potential = -((counts - equal) / (self.spread * equal)).square() / 2
        return PotentialSizes(potential.expand(len(like), -1))


class DirichletSizes(SizePrior):
    """Dirichlet-multinomial sizes, whose concentration, one for all clusters, is learned."""

    def __init__(self, priors: ClusterPriors) -> None:
        super().__init__(priors)
        self.log_concentration = nn.Parameter(torch.zeros(()))

    def forward(self, num_images: int) -> DirichletMultinomialSizes:
        concentration = self.log_concentration.exp().expand(len(self.priors.log_weight))
        return DirichletMultinomialSizes(num_images, concentration)


class WeightedSizes(SizePrior):
    """Fisher's law with the weights of the clusters, which are learned: that of the paper."""

    def forward(self, num_images: int) -> MultivariateFisherHypergeometric:
        return MultivariateFisherHypergeometric(num_images, log_omega=self.priors.log_weight)


def make_size_prior(name: SizePriorName, priors: ClusterPriors, spread: float = 0.0) -> SizePrior:
    """Make one of them by its name; ``spread`` is that of equal sizes."""
    if name == "equal":
        return EqualSizes(priors, spread)
    return DirichletSizes(priors) if name == "dirichlet" else WeightedSizes(priors)
