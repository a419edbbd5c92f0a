# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Where all methods start from: good and bad."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from sklearn.cluster import KMeans
from torch import Tensor

__all__ = ["STARTS", "Start", "StartName", "from_kmeans", "from_points"]

StartName = Literal["k-means", "points"]

_LEAST_SCALE = 0.1


class Start(NamedTuple):
    """Centers and standard deviations of ``K`` clusters, shape ``(K, D)`` each."""

    loc: Tensor
    scale: Tensor

    def matched(self, sizes: Tensor, points: Tensor) -> Tensor:
        """Known sizes, shape ``(K,)``, in the order of the numbers of points near the centers."""
        counts = torch.cdist(points, self.loc).argmin(-1).bincount(minlength=len(self.loc))
        return sizes.sort().values[counts.argsort().argsort()]


def from_kmeans(points: Tensor, num_clusters: int, seed: int) -> Start:
    """The moments of the clusters of one run of k-means.

    Args:
        points: Shape ``(n, D)``.
        num_clusters: Number ``K`` of clusters.
        seed: Of k-means.
    """
    clusters = KMeans(num_clusters, n_init=1, random_state=seed).fit(points.numpy())
    labels = torch.as_tensor(clusters.labels_)
    members = [points[labels == k] for k in range(num_clusters)]
    loc = torch.stack([x.mean(0) for x in members])
    scale = torch.stack([x.std(0, correction=0) for x in members])
    return Start(loc, scale.clamp(min=_LEAST_SCALE))


def from_points(points: Tensor, num_clusters: int, seed: int) -> Start:
    """Any points as centers, and clusters as wide as all data; arguments as for k-means."""
    generator = torch.Generator().manual_seed(seed)
    loc = points[torch.randperm(len(points), generator=generator)[:num_clusters]]
    return Start(loc, torch.ones_like(loc))


STARTS: dict[StartName, Callable[[Tensor, int, int], Start]] = {
    "k-means": from_kmeans,
    "points": from_points,
}
