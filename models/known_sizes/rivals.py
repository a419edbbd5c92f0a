# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Other methods that cluster, with and without knowledge of the sizes."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from scipy.special import gammaln
from sklearn.mixture import GaussianMixture
from torch import Tensor
from torch.distributions import Normal, OneHotCategorical

from models.known_sizes.fit import Fit
from models.known_sizes.model import LEAST_SCALE
from models.known_sizes.starts import Start
from pyro_drpm.partitions import point_estimate

__all__ = ["categorical_estimate", "constrained_kmeans", "gaussian_mixture", "hard_em"]

_STEPS, _DRAWS = 200, 500


def gaussian_mixture(points: Tensor, start: Start) -> Fit:
    """EM for a mixture with free weights, by scikit-learn; the loss is the negative evidence.

    Args:
        points: Shape ``(n, D)``.
        start: Where the clusters start.
    """
    num_clusters = len(start.loc)
    mixture = GaussianMixture(
        num_clusters,
        covariance_type="diag",
        weights_init=np.full(num_clusters, 1 / num_clusters),
        means_init=start.loc.double().numpy(),
        precisions_init=start.scale.double().numpy() ** -2,
        reg_covar=LEAST_SCALE**2,
        max_iter=1000,
    ).fit(points.double().numpy())
    probs = torch.as_tensor(mixture.predict_proba(points.double().numpy()))
    loss = -len(points) * mixture.score(points.double().numpy())
    return Fit(probs, float(loss), probs.argmax(-1))


def categorical_estimate(points: Tensor, start: Start, seed: int) -> Fit:
    """The partition at the center of draws of independent categoricals, those of the mixture.

    Args:
        points: Shape ``(n, D)``.
        start: Where the clusters start.
        seed: Of the draws.
    """
    mixture = gaussian_mixture(points, start)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        draws = OneHotCategorical(probs=mixture.probs).sample((_DRAWS,)).mT
        estimate = point_estimate(draws)
    return mixture._replace(clusters=estimate.labels)


def hard_em(points: Tensor, start: Start, sizes: Tensor) -> Fit:
    """Clusters of known sizes and their parameters in turns, each the best given the other.

    The loss is the negative log of the joint density of points and partition.

    Args:
        points: Shape ``(n, D)``.
        start: Where the clusters start.
        sizes: Shape ``(K,)``.
    """
    points, (loc, scale) = points.double(), (x.double() for x in start)
    place = torch.arange(len(sizes)).repeat_interleave(sizes)
    clusters = torch.full((len(points),), -1)
    for _ in range(_STEPS):
        log_density = Normal(loc, scale).log_prob(points.unsqueeze(1)).sum(-1)
        _, chosen = linear_sum_assignment(-log_density[:, place].numpy())
        before, clusters = clusters, place[torch.as_tensor(chosen)]
        if torch.equal(before, clusters):
            break
        members = [points[clusters == k] for k in range(len(sizes))]
        loc = torch.stack([x.mean(0) for x in members])
        scale = torch.stack([x.std(0, correction=0) for x in members]).clamp(min=LEAST_SCALE)
    num_partitions = gammaln(len(points) + 1) - gammaln(sizes.numpy() + 1).sum()
    fitted = Normal(loc[clusters], scale[clusters]).log_prob(points).sum().item()
    probs = F.one_hot(clusters, len(sizes)).double()
    return Fit(probs, float(num_partitions) - fitted, clusters)


def constrained_kmeans(points: Tensor, start: Start, sizes: Tensor, seed: int) -> Fit:
    """K-means with the least and the greatest size as bounds, by k-means-constrained.

    Args:
        points: Shape ``(n, D)``.
        start: Where the centers start.
        sizes: Shape ``(K,)``.
        seed: Of the method.

    Raises:
        ModuleNotFoundError: If the package is not installed.
    """
    kmeans = import_module("k_means_constrained").KMeansConstrained(
        len(sizes),
        size_min=int(sizes.min()),
        size_max=int(sizes.max()),
        init=start.loc.double().numpy(),
        n_init=1,
        random_state=seed,
    )
    clusters = torch.as_tensor(kmeans.fit_predict(points.double().numpy())).long()
    return Fit(F.one_hot(clusters, len(sizes)).double(), None, clusters)
