# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The Gaussian prior of every subset, and first clusterings by scikit-learn."""

from __future__ import annotations

import math

import torch
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn
from torch.distributions import Normal

__all__ = ["ClusterPriors", "assign", "fit_kmeans", "fit_mixture"]

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
    def fit_to(self, points: Tensor, membership: Tensor) -> None:
        """Take over the means, standard deviations and shares of clusters, in place.

        Args:
            points: Shape ``(n, l)``.
            membership: Shares of every point in the clusters, shape ``(n, K)``.

        Raises:
            ValueError: If a cluster has no point.
        """
        sizes = membership.sum(0)
        if (sizes == 0).any():
            raise ValueError(f"cluster {int(sizes.argmin())} of {len(sizes)} has no point")
        weights = (membership / sizes).mT
        loc = weights @ points
        squares = (points - loc.unsqueeze(1)).square()  # (K, n, l)
        variance = (weights.unsqueeze(-1) * squares).sum(1)
        self.loc.copy_(loc)
        self.log_scale.copy_((variance + _LEAST_VARIANCE).log() / 2)
        self.log_weight.copy_((sizes / len(points)).log())

    @torch.no_grad()
    def copy_from(self, mixture: GaussianMixture) -> None:
        """Take over the components of a mixture, in place: optimisers keep their parameters."""
        self.loc.copy_(torch.as_tensor(mixture.means_))
        self.log_scale.copy_(torch.as_tensor(mixture.covariances_).log() / 2)
        self.log_weight.copy_(torch.as_tensor(mixture.weights_).log())
