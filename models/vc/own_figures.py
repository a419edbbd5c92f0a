# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Figures of clusters of one's own data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from torch import Tensor

from models.runs.palette import style
from models.vc.figures import draw_rows

__all__ = ["save_members", "save_profiles", "save_projection"]

_MOST_COLUMNS = 40
_IMAGES_OF_A_ROW = 20


def save_projection(path: Path, means: Tensor, clusters: Tensor, num_clusters: int) -> None:
    """Draw the latent means of all items, in the plane of most variance.

    Args:
        path: Where to save the figure.
        means: Shape ``(n, l)``.
        clusters: Shape ``(n,)``.
        num_clusters: Number ``K`` of clusters.
    """
    components = PCA(min(2, *means.shape)).fit(means.numpy())
    points = np.zeros((len(means), 2))
    points[:, : components.n_components_] = components.transform(means.numpy())
    shares = [f"{share:.0%} of the variance" for share in components.explained_variance_ratio_]
    figure = Figure(figsize=(7.5, 5.5), layout="constrained")
    axes = figure.subplots()
    for k in range(num_clusters):
        own = points[clusters.numpy() == k]
        axes.scatter(
            own[:, 0],
            own[:, 1],
            s=14,
            **style(k),
            alpha=0.7,
            linewidths=0,
            label=f"{k} ({len(own)})",
        )
    axes.set(
        title="Clusters in the latent space",
        xlabel=f"first principal component ({shares[0]})",
        ylabel=f"second ({shares[1]})" if len(shares) > 1 else "no second component",
    )
    figure.legend(title="cluster (items)", loc="outside right upper")
    figure.savefig(path, dpi=150)


def save_profiles(
    path: Path, columns: Sequence[str], features: Tensor, clusters: Tensor, num_clusters: int
) -> None:
    """Draw the means of the features in each cluster; of many, those that differ most.

    Args:
        path: Where to save the figure.
        columns: Names of the features; if they have none, they are numbered from 0.
        features: Standardised, shape ``(n, D)``.
        clusters: Shape ``(n,)``.
        num_clusters: Number ``K`` of clusters.
    """
    membership = torch.nn.functional.one_hot(clusters, num_clusters).to(features)
    sizes = membership.sum(0)
    means = membership.mT @ features / sizes.clamp(min=1).unsqueeze(-1)  # (K, D)
    spread = (sizes.unsqueeze(-1) * means.square()).sum(0)
    shown = spread.argsort(descending=True)[:_MOST_COLUMNS].sort().values
    limit = max(1.0, float(means.abs().max()))
    figure = Figure(figsize=(3 + 0.35 * len(shown), 2.5 + 0.3 * num_clusters), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(means[:, shown].numpy(), cmap="PuOr", vmin=-limit, vmax=limit)
    names = [columns[d] if columns else f"column {d}" for d in shown.tolist()]
    axes.set_xticks(range(len(shown)), names, rotation=90)
    axes.set_yticks(range(num_clusters), [f"{k} ({n:.0f})" for k, n in enumerate(sizes.tolist())])
    axes.set(title="Means of the clusters", ylabel="cluster (items)")
    figure.colorbar(image, label="standard deviations from the mean")
    figure.savefig(path, dpi=150)


def save_members(path: Path, images: Tensor, clusters: Tensor, probabilities: Tensor) -> None:
    """Draw the images that are most certain of each cluster, a row each.

    Args:
        path: Where to save the figure.
        images: Shape ``(n, C, H, W)``.
        clusters: Shape ``(n,)``.
        probabilities: Shape ``(n, K)``.
    """
    rows = []
    for k in range(probabilities.shape[-1]):
        own = (clusters == k).nonzero().flatten()
        order = probabilities[own, k].argsort(descending=True, stable=True)
        rows.append(images[own[order[:_IMAGES_OF_A_ROW]]])
    height, width = images.shape[-2:]
    figure = Figure(
        figsize=(8, 1 + 7 / _IMAGES_OF_A_ROW * len(rows) * height / width), layout="constrained"
    )
    axes = figure.subplots()
    draw_rows(axes, rows, cmap="gray")
    axes.set(title="The images that are most certain of each cluster", ylabel="cluster")
    figure.savefig(path, dpi=150)
