# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""What the priors of the clusters start from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from models.vc.priors import ClusterPriors, Covariance, assign, fit_kmeans, fit_mixture
from models.vc.sizes import equal_sizes
from pyro_drpm import DRPM

__all__ = ["STARTS", "Start", "from_equal_sizes", "from_kmeans", "from_mixture"]

Start = Literal["k-means", "equal-sizes", "mixture"]

_STARTS, _STEPS = 10, 30  # of EM with equal sizes


def from_mixture(
    points: Tensor, num_clusters: int, seed: int, covariance: Covariance = "diagonal"
) -> ClusterPriors:
    """The components of a Gaussian mixture, fitted by EM.

    Args:
        points: Shape ``(n, l)``.
        num_clusters: Number ``K`` of clusters.
        seed: Seed of the clustering.
        covariance: That of the clusters.
    """
    priors = ClusterPriors(num_clusters, points.shape[-1], covariance)
    priors.copy_from(fit_mixture(points, num_clusters, seed, covariance=covariance))
    return priors


def from_kmeans(
    points: Tensor,
    num_clusters: int,
    seed: int,
    covariance: Covariance = "diagonal",
    num_starts: int = 10,
) -> ClusterPriors:
    """The moments of the clusters of k-means, the best of several runs.

    Other arguments as for :func:`from_mixture`.

    Raises:
        ValueError: If a cluster has no point.
    """
    priors = ClusterPriors(num_clusters, points.shape[-1], covariance)
    clusters = assign(fit_kmeans(points, num_clusters, seed, num_starts), points)
    priors.fit_to(points, F.one_hot(clusters, num_clusters).to(points.dtype))
    return priors


def from_equal_sizes(
    points: Tensor, num_clusters: int, seed: int, covariance: Covariance = "diagonal"
) -> ClusterPriors:
    """A Gaussian mixture whose clusters have equal sizes, which differ by at most one.

    EM with partitions that are drawn, from ten runs of k-means; the one of most likelihood is
    taken. Arguments and errors are those of :func:`from_kmeans`.
    """
    starts = [
        from_kmeans(points, num_clusters, seed + i, covariance, num_starts=1)
        for i in range(_STARTS)
    ]
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        likelihoods = [_refit_by_draws(priors, points) for priors in starts]
    return starts[likelihoods.index(max(likelihoods))]


def _refit_by_draws(priors: ClusterPriors, points: Tensor) -> float:
    """EM from priors, in place; gives the log-likelihood of the points and the last partition."""
    sizes = equal_sizes(len(points), priors.log_weight)
    likelihood = -torch.inf
    for _ in range(_STEPS):
        log_density = priors.log_densities(points)
        membership = DRPM.from_affinities(log_density.mT, sizes).sample().mT
        likelihood = (membership * log_density).sum().item()
        priors.fit_to(points, membership)
    return likelihood


STARTS: dict[Start, Callable[[Tensor, int, int, Covariance], ClusterPriors]] = {
    "k-means": from_kmeans,
    "equal-sizes": from_equal_sizes,
    "mixture": from_mixture,
}
