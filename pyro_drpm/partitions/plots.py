# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Pictures of partitions and of their posterior.

Every function draws into the axes ``ax``, or into those of a new figure, and returns them, as ArviZ
does. Matplotlib comes with the extra ``pyro-drpm[arviz]``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pyro_drpm.optional import require
from pyro_drpm.partitions.diagnostics import as_chains
from pyro_drpm.partitions.labels import as_labels, as_partition, as_tensor
from pyro_drpm.partitions.losses import partition_loss
from pyro_drpm.partitions.quantities import invariants
from pyro_drpm.partitions.references import reference_distances
from pyro_drpm.partitions.relabeling import relabel
from pyro_drpm.partitions.similarity import similarity_matrix
from pyro_drpm.partitions.sizes import subset_sizes_of
from pyro_drpm.partitions.weighted_estimates import WeightedEstimates
from pyro_drpm.types import Partitions

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

__all__ = [
    "plot_dendrogram",
    "plot_estimates",
    "plot_losses",
    "plot_num_subsets",
    "plot_points",
    "plot_similarity",
    "plot_sizes",
    "plot_trace",
]

_MARKERS = "o^sDvP*X<>"  # as many as there are colours, for eyes that confuse these


def plot_similarity(draws: Partitions, estimate: Partitions, ax: Axes | None = None) -> Axes:
    """Draw the similarity matrix, items in the order of an estimate, whose subsets are framed.

    Args:
        draws: Labels ``(draws, n)`` or one-hot matrices ``(draws, K, n)``.
        estimate: Labels, shape ``(n,)``, or a one-hot matrix ``(K, n)``, for example a point
            estimate.
        ax: Where to draw.

    Raises:
        ValueError: As :func:`~pyro_drpm.partitions.as_draws`, or if the estimate is no partition of
            as many items.
    """
    ax = _axes(ax)
    similarity = similarity_matrix(draws).cpu()
    labels = as_partition(estimate, len(similarity)).cpu()
    order = labels.argsort(stable=True)
    image = ax.imshow(similarity[order][:, order].numpy(), vmin=0, vmax=1, cmap="viridis")
    start = -0.5
    for size in labels.unique(return_counts=True)[1].tolist():
        xs = [start, start + size, start + size, start, start]
        ys = [start, start, start + size, start + size, start]
        ax.plot(xs, ys, color="white", linewidth=1)
        start += size
    ax.set(xlabel="element, in order", ylabel="element, in order")
    ax.set_title("probability of lying together")
    ax.figure.colorbar(image, ax=ax, shrink=0.8)
    return ax


def plot_dendrogram(
    draws: Partitions, weights: Tensor | ArrayLike | None = None, ax: Axes | None = None
) -> Axes:
    """Draw the similarity matrix beside a tree of the items.

    Items and branches join where the mean probability of lying apart, between members of one and
    members of the other, is least (average linkage). The items are in the order of the leaves.

    Args:
        draws: Labels ``(draws, n)`` or one-hot matrices ``(draws, K, n)``, at least two items.
        weights: As for :func:`~pyro_drpm.partitions.similarity_matrix`.
        ax: Where to draw the matrix; the tree takes a quarter of it.

    Raises:
        ValueError: As :func:`~pyro_drpm.partitions.similarity_matrix`, or if there is one item.
        ImportError: If SciPy is missing, which comes with the extra ``pyro-drpm[metrics]``.
    """
    similarity = similarity_matrix(draws, weights).cpu()
    n = len(similarity)
    if n < 2:
        raise ValueError(f"expected at least two items, but got {n}")
    hierarchy = require("scipy.cluster.hierarchy", "metrics")
    above = torch.triu_indices(n, n, offset=1)
    tree = hierarchy.linkage((1 - similarity)[above[0], above[1]].numpy(), method="average")
    ax = _axes(ax)
    beside = ax.inset_axes((-0.28, 0.0, 0.25, 1.0))
    found = hierarchy.dendrogram(
        tree, ax=beside, orientation="left", color_threshold=0, above_threshold_color="k"
    )
    beside.set(yticks=[], xlabel="probability of lying apart")
    beside.spines[["left", "right", "top"]].set_visible(False)
    order = found["leaves"]
    shown = similarity[order][:, order].numpy()
    image = ax.imshow(shown, vmin=0, vmax=1, cmap="viridis", origin="lower", aspect="auto")
    ax.set(xlabel="element, in order of the tree", yticks=[])
    ax.set_title("probability of lying together")
    ax.figure.colorbar(image, ax=ax, shrink=0.8)
    return ax


def plot_estimates(estimates: WeightedEstimates, ax: Axes | None = None) -> Axes:
    """Draw several partitions as rows, so that one sees what they agree on.

    Elements are sorted by their subsets, in the first partition first. Subsets have the colours of
    those of the first that they agree with best.

    Args:
        estimates: Partitions with weights.
        ax: Where to draw.

    Raises:
        ImportError: If SciPy is missing, which comes with the extra ``pyro-drpm[metrics]``.
    """
    labels = estimates.labels.cpu()
    names = relabel(labels, labels[0])
    order = np.lexsort(names.numpy()[::-1])
    ax = _axes(ax)
    to_rgb = require("matplotlib.colors", "arviz").to_rgb
    colours = np.array([to_rgb(f"C{name % 10}") for name in range(int(names.max()) + 1)])
    ax.imshow(colours[names[:, order].numpy()], aspect="auto", interpolation="nearest")
    ax.set_yticks(range(len(labels)), [f"{weight:.0%}" for weight in estimates.weights.tolist()])
    ax.set(xlabel="element, in order", ylabel="weight of a partition")
    return ax


def plot_sizes(
    draws: Partitions, *, sort: bool = False, level: float = 0.94, ax: Axes | None = None
) -> Axes:
    """Draw the mean size of each subset and a central interval.

    Args:
        draws: Labels ``(draws, n)`` from 0 or one-hot matrices ``(draws, K, n)``.
        sort: Whether the names of the labels mean nothing, so that the largest subset comes
            first in each draw.
        level: Probability of the interval.
        ax: Where to draw.

    Raises:
        ValueError: As :func:`~pyro_drpm.partitions.subset_sizes_of`.
    """
    ax = _axes(ax)
    sizes = subset_sizes_of(draws, sort=sort).double().cpu()
    low, high = (sizes.quantile(share, dim=0) for share in ((1 - level) / 2, (1 + level) / 2))
    mean, place = sizes.mean(0), range(sizes.shape[-1])
    error = torch.stack([mean - low, high - mean]).clamp(min=0)
    ax.errorbar(place, mean.numpy(), yerr=error.numpy(), fmt="o", capsize=3)
    ax.set(xlabel="rank by size" if sort else "subset", ylabel="size", ylim=(0, None))
    ax.set_title(f"mean and {level:.0%} interval")
    ax.locator_params("x", integer=True)
    return ax


def plot_points(points: Tensor | ArrayLike, labels: Partitions, ax: Axes | None = None) -> Axes:
    """Draw points of the plane in the colours and shapes of their subsets.

    Args:
        points: Shape ``(n, 2)``.
        labels: Shape ``(n,)``, or a one-hot matrix ``(K, n)``.
        ax: Where to draw.

    Raises:
        ValueError: If the points are not of the plane, or the labels are no partition of them.
    """
    places = as_tensor(points).detach().cpu()
    if places.dim() != 2 or places.shape[-1] != 2:
        raise ValueError(f"expected points of shape (n, 2), but got {tuple(places.shape)}")
    names = as_partition(labels, len(places)).cpu()
    ax = _axes(ax)
    for name in names.unique().tolist():
        x, y = places[names == name].numpy().T
        marker = _MARKERS[name % len(_MARKERS)]
        ax.scatter(x, y, s=20, color=f"C{name % 10}", marker=marker, label=str(name))
    ax.legend(title="subset")
    return ax


def plot_num_subsets(draws: Partitions, ax: Axes | None = None) -> Axes:
    """Draw the number of subsets that are not empty along the draws of each chain.

    Args:
        draws: Integers of shape ``(draws, n)`` or ``(chains, draws, n)``, or one-hot matrices
            ``(draws, K, n)`` or ``(chains, draws, K, n)`` of floating point numbers or booleans.
        ax: Where to draw.

    Raises:
        ValueError: As :func:`~pyro_drpm.partitions.as_labels`, or if the shape is another.
    """
    labels = as_labels(draws)
    if labels.dim() not in (2, 3):
        raise ValueError(
            "expected labels of shape (draws, n) or (chains, draws, n), or as many one-hot "
            f"matrices, but got labels of shape {tuple(labels.shape)}"
        )
    ax = _axes(ax)
    numbers = invariants(labels)["num_subsets"].cpu()
    for chain, trace in enumerate(numbers.reshape(-1, numbers.shape[-1])):
        ax.plot(trace.numpy(), drawstyle="steps-mid", alpha=0.7, label=f"chain {chain}")
    ax.set(xlabel="draw", ylabel="number of subsets")
    return ax


def plot_trace(
    draws: Partitions, reference: Partitions | None = None, ax: Axes | None = None
) -> Axes:
    """Draw how far each draw is from one partition, along the draws of each chain.

    Chains that stay at different partitions stay at different heights.

    Args:
        draws: Labels ``(chains, draws, n)``, or one-hot matrices ``(chains, draws, K, n)`` of
            floating point numbers or booleans.
        reference: Labels, shape ``(n,)``, or a one-hot matrix ``(K, n)``; by default the point
            estimate of :func:`~pyro_drpm.partitions.partition_diagnostics`.
        ax: Where to draw.

    Raises:
        ValueError: As :func:`~pyro_drpm.partitions.partition_diagnostics`, or if the reference is
            no partition of as many items.
    """
    labels = as_chains(draws)
    if reference is None:
        distances, name = reference_distances(labels)[..., 0], "the point estimate"
    else:
        given = as_partition(reference, labels.shape[-1])
        distances, name = partition_loss(labels, given), "a partition"
    ax = _axes(ax)
    for chain, trace in enumerate(distances.cpu()):
        ax.plot(trace.numpy(), drawstyle="steps-mid", alpha=0.7, label=f"chain {chain}")
    ax.set(xlabel="draw", ylabel=f"bits from {name}")
    ax.legend()
    return ax


def plot_losses(
    losses: Sequence[float] | Mapping[str, Sequence[float]], ax: Axes | None = None
) -> Axes:
    """Draw training curves.

    Args:
        losses: Losses of the steps, of one training or of several by name.
        ax: Where to draw.
    """
    ax = _axes(ax)
    if isinstance(losses, Mapping):
        for name, curve in losses.items():
            ax.plot(curve, label=name)
        ax.legend()
    else:
        ax.plot(losses)
    ax.set(xlabel="step", ylabel="loss")
    return ax


def _axes(ax: Axes | None) -> Axes:
    return ax if ax is not None else require("matplotlib.pyplot", "arviz").subplots()[1]
