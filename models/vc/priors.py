# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The Gaussian prior of every subset, and first clusterings by scikit-learn."""

from __future__ import annotations

import math
from typing import Literal

import torch
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn
from torch.distributions import Independent, MultivariateNormal, Normal

__all__ = ["ClusterPriors", "Covariance", "assign", "fit_kmeans", "fit_mixture"]

Covariance = Literal["diagonal", "full"]

_LEAST_VARIANCE = 1e-4  # added to all


def fit_mixture(
    points: Tensor,
    num_clusters: int,
    seed: int,
    num_starts: int = 10,
    covariance: Covariance = "diagonal",
) -> GaussianMixture:
    """Fit a Gaussian mixture, the best of several starts.

    Args:
        points: Shape ``(N, l)``.
        num_clusters: Number ``K`` of components.
        seed: Seed of the starts: k-means++, or k-means where covariances are full, which
            points that are picked out of the data alone do not determine.
        num_starts: Number of starts.
        covariance: Whether the coordinates of a component are independent.
    """
    is_full = covariance == "full"
    mixture = GaussianMixture(
        num_clusters,
        covariance_type="full" if is_full else "diag",
        init_params="kmeans" if is_full else "k-means++",
        n_init=num_starts,
        max_iter=500,
        tol=1e-4 * points.shape[-1],  # gain in log-likelihood per point: scikit-learn's for l = 10
        reg_covar=_LEAST_VARIANCE,
        random_state=seed,
    )
    return mixture.fit(points.double().cpu().numpy())


def fit_kmeans(points: Tensor, num_clusters: int, seed: int, num_starts: int = 10) -> KMeans:
    """Cluster with k-means, the best of several starts; arguments as for :func:`fit_mixture`."""
    clusters = KMeans(num_clusters, n_init=num_starts, random_state=seed)
    return clusters.fit(points.double().cpu().numpy())


def assign(clusters: GaussianMixture | KMeans, points: Tensor) -> Tensor:
    """Give every point ``(n, l)`` its most probable component or its nearest center, ``(n,)``."""
    return torch.as_tensor(clusters.predict(points.double().cpu().numpy()), dtype=torch.long)


class ClusterPriors(nn.Module):
    r"""Priors :math:`N(\mu_k, \Sigma_k)` of the latent variables and the weights of the subsets.

    Args:
        num_clusters: Number ``K`` of subsets.
        latent_dim: Dimension ``l`` of the latent space.
        covariance: Whether :math:`\Sigma_k` is diagonal, as in the paper, or full.

    Attributes:
        loc: The means, shape ``(K, l)``.
        log_scale: Logarithms of the standard deviations where :math:`\Sigma_k` is diagonal; of the
            diagonal of its Cholesky factor where it is full; shape ``(K, l)``.
        below: The rest of that factor, row by row, shape ``(K, l (l - 1) / 2)``; none where
            :math:`\Sigma_k` is diagonal.
        log_weight: Logarithms of the weights, shape ``(K,)``.
    """

    def __init__(
        self, num_clusters: int, latent_dim: int, covariance: Covariance = "diagonal"
    ) -> None:
        super().__init__()
        self.covariance = covariance
        self.loc = nn.Parameter(torch.zeros(num_clusters, latent_dim))
        self.log_scale = nn.Parameter(torch.zeros(num_clusters, latent_dim))
        num_below = latent_dim * (latent_dim - 1) // 2
        below = torch.zeros(num_clusters, num_below) if covariance == "full" else None
        self.below = None if below is None else nn.Parameter(below)
        self.log_weight = nn.Parameter(torch.zeros(num_clusters))

    @property
    def clusters(self) -> Independent | MultivariateNormal:
        """The Gaussians, batch shape ``(K,)``, event shape ``(l,)``."""
        scale = self.log_scale.exp()
        if self.below is None:
            return Independent(Normal(self.loc, scale), 1)
        factor = scale.diag_embed()
        rows, columns = _below(factor)
        factor[..., rows, columns] = self.below
        return MultivariateNormal(self.loc, scale_tril=factor, validate_args=False)

    def log_densities(self, z: Tensor) -> Tensor:
        """Log density of every point ``(n, l)`` under every prior, shape ``(n, K)``."""
        return self.clusters.log_prob(z.unsqueeze(-2))

    def log_weights(self, z: Tensor) -> Tensor:
        r"""Logs of the shares of the subsets in a batch, shape ``(K,)``.

        .. math:: \omega_k = n^{-1} \sum_i N(z_i; \mu_k, \Sigma_k) / \sum_j N(z_i; \mu_j, \Sigma_j)
        """
        log_shares = self.log_densities(z).log_softmax(-1)
        return log_shares.logsumexp(0) - math.log(len(z))

    @torch.no_grad()
    def fit_to(self, points: Tensor, membership: Tensor) -> None:
        """Take over the means, covariances and shares of clusters, in place.

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
        distances = points - loc.unsqueeze(1)  # (K, n, l)
        self.loc.copy_(loc)
        self.log_weight.copy_((sizes / len(points)).log())
        if self.below is None:
            variances = (weights.unsqueeze(-1) * distances.square()).sum(1)
            self._set_covariances(variances + _LEAST_VARIANCE)
        else:
            covariances = distances.mT @ (weights.unsqueeze(-1) * distances)
            least = torch.eye(points.shape[-1], dtype=points.dtype, device=points.device)
            self._set_covariances(covariances + _LEAST_VARIANCE * least)

    @torch.no_grad()
    def copy_from(self, mixture: GaussianMixture) -> None:
        """Take over the components of a mixture, in place: optimisers keep their parameters."""
        self.loc.copy_(torch.as_tensor(mixture.means_))
        self.log_weight.copy_(torch.as_tensor(mixture.weights_).log())
        self._set_covariances(torch.as_tensor(mixture.covariances_))

    @torch.no_grad()
    def widen(self, variance: float) -> None:
        """Add to the variance in every direction, in place.

        Priors that were fitted to latent means become those of latent variables that spread around
        these means.

        Args:
            variance: What is added.
        """
        clusters = self.clusters
        if isinstance(clusters, MultivariateNormal):
            added = torch.full_like(self.loc, variance).diag_embed()
            self._set_covariances(clusters.covariance_matrix + added)
        else:
            self._set_covariances(clusters.variance + variance)

    @torch.no_grad()
    def reorder(self, order: Tensor) -> None:
        """Number the clusters anew, in place.

        Args:
            order: Old number of each, shape ``(K,)``.
        """
        for parameter in self.parameters():
            parameter.copy_(parameter[order])

    def _set_covariances(self, covariances: Tensor) -> None:
        """Of shape ``(K, l, l)`` if they are full, ``(K, l)`` otherwise."""
        if self.below is None:
            self.log_scale.copy_(covariances.log() / 2)
            return
        factor = torch.linalg.cholesky(covariances)
        self.log_scale.copy_(factor.diagonal(dim1=-2, dim2=-1).log())
        rows, columns = _below(factor)
        self.below.copy_(factor[..., rows, columns])


def _below(factor: Tensor) -> Tensor:
    """Rows and columns of what is below the diagonal of a matrix."""
    latent_dim = factor.shape[-1]
    return torch.tril_indices(latent_dim, latent_dim, offset=-1, device=factor.device)
