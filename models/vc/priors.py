# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The Gaussian prior of every subset, and its initial values from a first clustering."""

from __future__ import annotations

import math
from typing import Literal

import torch
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn
from torch.distributions import Normal

__all__ = ["ClusterPriors", "Start", "assign", "fit_kmeans", "fit_mixture", "start_priors"]

Start = Literal["k-means", "mixture"]

_LEAST_VARIANCE = 1e-4  # added to all


def fit_mixture(
    points: Tensor, num_clusters: int, seed: int, num_starts: int = 10
) -> GaussianMixture:
    """Fit a Gaussian mixture with diagonal covariances, the best of several starts.

    Args:
        points: Shape ``(N, l)``.
        num_clusters: Number ``K`` of components.
        seed: Seed of the starts (k-means++).
        num_starts: Number of starts.
    """
    mixture = GaussianMixture(
        num_clusters,
        covariance_type="diag",
        init_params="k-means++",
        n_init=num_starts,
        max_iter=500,
        tol=1e-4 * points.shape[-1],  # gain in log-likelihood per point: scikit-learn's for l = 10
        reg_covar=_LEAST_VARIANCE,
        random_state=seed,
    )
    return mixture.fit(points.double().numpy())


def fit_kmeans(points: Tensor, num_clusters: int, seed: int, num_starts: int = 10) -> KMeans:
    """Cluster with k-means, the best of several starts; arguments as for :func:`fit_mixture`."""
    clusters = KMeans(num_clusters, n_init=num_starts, random_state=seed)
    return clusters.fit(points.double().numpy())


def assign(clusters: GaussianMixture | KMeans, points: Tensor) -> Tensor:
    """Give every point ``(n, l)`` its most probable component or its nearest center, ``(n,)``."""
    return torch.as_tensor(clusters.predict(points.double().numpy()), dtype=torch.long)


class ClusterPriors(nn.Module):
    """Priors ``N(mu_k, diag(sigma_k^2))`` of the latent variables and the weights of the subsets.

    Args:
        num_clusters: Number ``K`` of subsets.
        latent_dim: Dimension ``l`` of the latent space.
    """

    def __init__(self, num_clusters: int, latent_dim: int) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(num_clusters, latent_dim))
        self.log_scale = nn.Parameter(torch.zeros(num_clusters, latent_dim))
        self.log_weight = nn.Parameter(torch.zeros(num_clusters))

    @property
    def scale(self) -> Tensor:
        """Standard deviations, shape ``(K, l)``."""
        return self.log_scale.exp()

    def log_densities(self, z: Tensor) -> Tensor:
        """Log density of every point ``(n, l)`` under every prior, shape ``(n, K)``."""
        return Normal(self.loc, self.scale).log_prob(z.unsqueeze(-2)).sum(-1)

    def log_weights(self, z: Tensor) -> Tensor:
        r"""Logs of the shares of the subsets in a batch, shape ``(K,)``.

        .. math:: \omega_k = n^{-1} \sum_i N(z_i; \mu_k, \sigma_k) / \sum_j N(z_i; \mu_j, \sigma_j)
        """
        log_shares = self.log_densities(z).log_softmax(-1)
        return log_shares.logsumexp(0) - math.log(len(z))

    @torch.no_grad()
    def fit_to(self, points: Tensor, clusters: Tensor) -> None:
        """Take over the means, standard deviations and shares of clusters, in place.

        Args:
            points: Shape ``(n, l)``.
            clusters: Shape ``(n,)``, at least one point in each.

        Raises:
            ValueError: If a cluster has no point.
        """
        for k in range(len(self.loc)):
            members = points[clusters == k]
            if not len(members):
                raise ValueError(f"cluster {k} of {len(self.loc)} has no point")
            self.loc[k] = members.mean(0)
            self.log_scale[k] = (members.var(0, correction=0) + _LEAST_VARIANCE).log() / 2
            self.log_weight[k] = math.log(len(members) / len(points))

    @torch.no_grad()
    def copy_from(self, mixture: GaussianMixture) -> None:
        """Take over the components of a mixture, in place: optimisers keep their parameters."""
        self.loc.copy_(torch.as_tensor(mixture.means_))
        self.log_scale.copy_(torch.as_tensor(mixture.covariances_).log() / 2)
        self.log_weight.copy_(torch.as_tensor(mixture.weights_).log())


def start_priors(start: Start, points: Tensor, num_clusters: int, seed: int) -> ClusterPriors:
    """Fit priors to the clusters of k-means, or take the components of a mixture.

    Args:
        start: Which of the two.
        points: Shape ``(N, l)``.
        num_clusters: Number ``K`` of clusters.
        seed: Seed of the clustering.

    Raises:
        ValueError: If a cluster has no point.
    """
    priors = ClusterPriors(num_clusters, points.shape[-1])
    if start == "mixture":
        priors.copy_from(fit_mixture(points, num_clusters, seed))
    else:
        priors.fit_to(points, assign(fit_kmeans(points, num_clusters, seed), points))
    return priors
