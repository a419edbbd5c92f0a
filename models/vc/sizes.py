# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""What is known beforehand of the sizes of the clusters."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
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
from pyro_drpm.ops.sizes.log_binomial import log_binomial

__all__ = [
    "BoundedSizes",
    "KnownSizes",
    "LearnedSizes",
    "SizePrior",
    "SizesLaw",
    "WeightedSizes",
    "equal_sizes",
]

_MOST_SIZES = 101  # between bounds, of which batches are drawn

SizesLaw = Literal["fixed", "bounded", "learned", "weighted"]


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


class KnownSizes(SizePrior):
    r"""Clusters of known sizes, or nearly so.

    A batch of :math:`n < N` images has them by chance:

    .. math:: p(n_0, \dots, n_{K-1}) \propto \prod_k \binom{N_k}{n_k}

    With a spread :math:`\epsilon` sizes are near their shares of the batch, whatever it is:

    .. math:: p(n_0, \dots, n_{K-1}) \propto
        \prod_k \exp(-(n_k - n N_k / N)^2 / (2 (\epsilon n N_k / N)^2))

    Args:
        priors: Those of the clusters.
        sizes: The :math:`N_k` of all images; the largest is that of the cluster of most weight, and
            so on.
        spread: The :math:`\epsilon`.

    Example:
        >>> priors = ClusterPriors(3, latent_dim=1)
        >>> KnownSizes(priors, [3, 3, 2])(8).sample()
        tensor([3., 3., 2.])
        >>> KnownSizes(priors, [3, 3, 2])(4).mean
        tensor([1.5000, 1.5000, 1.0000])
    """

    sizes: Tensor

    def __init__(self, priors: ClusterPriors, sizes: Sequence[int], spread: float = 0.0) -> None:
        super().__init__(priors)
        self.num_images = sum(sizes)
        self.spread = spread
        by_size = torch.tensor(sorted(sizes, reverse=True)).to(priors.log_weight)
        order = priors.log_weight.detach().argsort(descending=True, stable=True)
        self.register_buffer("sizes", by_size[order.argsort()])

    def forward(self, num_images: int) -> SizeDistribution:
        counts, sizes = _counts(num_images, self.sizes), self.sizes.unsqueeze(-1)
        if self.spread:
            expected = sizes * (num_images / self.num_images)
            log_potential = -((counts - expected) / (self.spread * expected)).square() / 2
        elif num_images == self.num_images:
            return FixedSizes(self.sizes, num_images)
        else:
            log_potential = _log_choices(sizes, counts)
        return PotentialSizes(log_potential.to(sizes))


class BoundedSizes(SizePrior):
    r"""Clusters whose sizes are between bounds, all of them as probable as each other.

    A batch of :math:`n < N` images has as many of a cluster as chance draws from one whose size is
    anything between the bounds, each cluster on its own but for the sum:

    .. math:: p(n_0, \dots, n_{K-1}) \propto
        \prod_k \sum_{m = a}^{b} \binom{m}{n_k} \binom{N - m}{n - n_k}

    Args:
        priors: Those of the clusters, for their number ``K``.
        num_images: Number :math:`N` of all images.
        minimum: The least size :math:`a`.
        maximum: The greatest size :math:`b`.

    Example:
        >>> law = BoundedSizes(ClusterPriors(2, latent_dim=1), 8, minimum=3, maximum=6)(8)
        >>> law.log_prob(torch.tensor([[2.0, 6.0], [3.0, 5.0], [4.0, 4.0]])).exp()
        tensor([0.0000, 0.3333, 0.3333])
    """

    def __init__(self, priors: ClusterPriors, num_images: int, minimum: int, maximum: int) -> None:
        super().__init__(priors)
        self.num_images, self.minimum, self.maximum = num_images, minimum, maximum

    def forward(self, num_images: int) -> SizeDistribution:
        like = self.priors.log_weight
        counts = _counts(num_images, like)
        if num_images == self.num_images:
            possible = (self.minimum <= counts) & (counts <= self.maximum)
            log_potential = counts.new_zeros(()).where(possible, -torch.inf)
        else:
            number = min(self.maximum - self.minimum + 1, _MOST_SIZES)
            sizes = torch.linspace(
                self.minimum, self.maximum, number, dtype=counts.dtype, device=counts.device
            )
            sizes = sizes.round().unsqueeze(-1)
            inside = _log_choices(sizes, counts)
            outside = _log_choices(self.num_images - sizes, num_images - counts)
            log_potential = (inside + outside).logsumexp(0)
        return PotentialSizes(log_potential.to(like).expand(len(like), -1))


class LearnedSizes(SizePrior):
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


def _counts(num_images: int, like: Tensor) -> Tensor:
    """All numbers of images of a cluster, float64."""
    return torch.arange(num_images + 1, dtype=torch.double, device=like.device)


def _log_choices(n: Tensor, k: Tensor) -> Tensor:
    """Logarithm of the number of choices of ``k`` out of ``n``, which may be none; float64."""
    n, possible = n.double(), (k >= 0) & (k <= n)
    return log_binomial(n, k.where(possible, 0)).where(possible, -torch.inf)
