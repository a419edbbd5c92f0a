# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Figures of a trained DRPM-VC: figures 2 and 12 to 15 of the paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pyro import poutine
from torch import Tensor, nn

from models.vc.model import DRPMVCModel
from models.vc.priors import ClusterPriors
from models.vc.sizes import SizePrior

__all__ = ["save_partition", "save_samples"]

_GAP = 1  # pixels around every image


@torch.no_grad()
def save_partition(
    path: Path,
    decoder: nn.Module,
    priors: ClusterPriors,
    size_prior: SizePrior,
    image_shape: tuple[int, ...],
    num_images: int = 80,
) -> None:
    """Draw a partition sampled from the model and an image generated for each of its elements.

    The upper panel is the partition matrix, the lower one has a row of images for every subset
    (figure 2 of the paper).

    Args:
        path: Where to save the figure.
        decoder: Network from latent variables to logits of the pixels.
        priors: The Gaussians of the clusters.
        size_prior: Law of their sizes.
        image_shape: ``(H, W)``.
        num_images: Number of elements of the partition.
    """
    model = poutine.uncondition(DRPMVCModel(decoder, priors, size_prior, num_partitions=1))
    observed = torch.zeros(num_images, *image_shape)
    trace: Any = poutine.trace(model).get_trace(observed, observed)
    partition = trace.nodes["Y"]["value"][0]  # (K, n)
    images = decoder(trace.nodes["z"]["value"]).sigmoid().unflatten(-1, image_shape)
    figure = Figure(figsize=(8, 8), layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=(1, 3))
    upper.imshow(partition.numpy(), cmap="Greys", aspect="auto", interpolation="nearest")
    upper.set(title="A sampled partition", xlabel="element", ylabel="subset")
    rows = [images[subset.bool()] for subset in partition]
    lower.imshow(_canvas(rows), cmap="Greys", vmin=0, vmax=1)
    lower.set(title="An image generated for each element", ylabel="subset")
    _label_rows(lower, len(rows), image_shape[0])
    figure.savefig(path, dpi=150)


@torch.no_grad()
def save_samples(
    path: Path,
    decoder: nn.Module,
    priors: ClusterPriors,
    image_shape: tuple[int, ...],
    num_samples: int = 20,
) -> None:
    """Draw a row of generated images for every prior (figures 12 to 15 of the paper).

    Args:
        path: Where to save the figure.
        decoder: Network from latent variables to logits of the pixels.
        priors: The Gaussians of the clusters.
        image_shape: ``(H, W)``.
        num_samples: Number of images in a row.
    """
    noise = torch.randn(num_samples, *priors.loc.shape)
    images = decoder(priors.loc + priors.scale * noise).sigmoid().unflatten(-1, image_shape)
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    axes.imshow(_canvas(list(images.transpose(0, 1))), cmap="Greys", vmin=0, vmax=1)
    axes.set(title="Samples of every prior", ylabel="subset")
    _label_rows(axes, len(priors.loc), image_shape[0])
    figure.savefig(path, dpi=150)


def _canvas(rows: list[Tensor]) -> np.ndarray:
    """Paste rows of images ``(n_k, H, W)`` of different lengths below each other."""
    padded = nn.utils.rnn.pad_sequence(rows, batch_first=True)  # (K, max n_k, H, W)
    padded = nn.functional.pad(padded, (_GAP, _GAP, _GAP, _GAP))
    return torch.cat([torch.cat(list(row), dim=1) for row in padded]).numpy()


def _label_rows(axes: Axes, number: int, image_height: int) -> None:
    height = image_height + 2 * _GAP
    axes.set_xticks([])
    axes.set_yticks([height * (row + 0.5) for row in range(number)], map(str, range(number)))
