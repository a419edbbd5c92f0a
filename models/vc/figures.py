# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Figures of a trained DRPM-VC: figures 2 and 12 to 15 of the paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pyro import poutine
from torch import Tensor, nn

from models.vc.model import DRPMVCModel
from models.vc.priors import ClusterPriors
from models.vc.sizes import SizePrior

__all__ = ["draw_rows", "save_partition", "save_samples"]

_GAP = 1  # pixels around every image


@torch.no_grad()
def save_partition(
    path: Path,
    decoder: nn.Module,
    priors: ClusterPriors,
    size_prior: SizePrior,
    image_shape: tuple[int, ...],
    num_images: int = 80,
    cmap: str = "Greys",
) -> None:
    """Draw a partition sampled from the model and an image generated for each of its elements.

    The upper panel is the partition matrix, the lower one has a row of images for every subset
    (figure 2 of the paper).

    Args:
        path: Where to save the figure.
        decoder: Network from latent variables to the law of the pixels.
        priors: The Gaussians of the clusters.
        size_prior: Law of their sizes.
        image_shape: ``(C, H, W)``.
        num_images: Number of elements of the partition.
        cmap: Colours of grey values; those of digits are ink on paper.
    """
    model = poutine.uncondition(DRPMVCModel(decoder, priors, size_prior, num_partitions=1))
    observed = torch.zeros(num_images, *image_shape)
    trace: Any = poutine.trace(model).get_trace(observed, observed)
    partition = trace.nodes["Y"]["value"][0]  # (K, n)
    images = decoder(trace.nodes["z"]["value"]).mean.unflatten(-1, image_shape)
    figure = Figure(figsize=(8, 8), layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=(1, 3))
    upper.imshow(partition.numpy(), cmap="Greys", aspect="auto", interpolation="nearest")
    upper.set(title="A sampled partition", xlabel="element", ylabel="subset")
    rows = [images[subset.bool()] for subset in partition]
    draw_rows(lower, rows, cmap)
    lower.set(title="An image generated for each element", ylabel="subset")
    figure.savefig(path, dpi=150)


@torch.no_grad()
def save_samples(
    path: Path,
    decoder: nn.Module,
    priors: ClusterPriors,
    image_shape: tuple[int, ...],
    num_samples: int = 20,
    cmap: str = "Greys",
) -> None:
    """Draw a row of generated images for every prior (figures 12 to 15 of the paper).

    Args:
        path: Where to save the figure.
        decoder: Network from latent variables to the law of the pixels.
        priors: The Gaussians of the clusters.
        image_shape: ``(C, H, W)``.
        num_samples: Number of images in a row.
        cmap: Colours of grey values.
    """
    images = decoder(priors.clusters.sample((num_samples,))).mean.unflatten(-1, image_shape)
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    draw_rows(axes, list(images.transpose(0, 1)), cmap)
    axes.set(title="Samples of every prior", ylabel="subset")
    figure.savefig(path, dpi=150)


def draw_rows(axes: Axes, rows: list[Tensor], cmap: str) -> None:
    """Draw rows of images of different lengths below each other.

    Args:
        axes: Where to draw.
        rows: Images of each row, shape ``(n_k, C, H, W)``.
        cmap: Colours of grey values.
    """
    is_grey = rows[0].shape[1] == 1
    background = 0.0 if is_grey and cmap == "Greys" else 1.0  # white
    padded = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=background)
    padded = nn.functional.pad(padded, (_GAP, _GAP, _GAP, _GAP), value=background)
    canvas = torch.cat([torch.cat(list(row), dim=-1) for row in padded], dim=-2)
    if is_grey:
        limits = min(0.0, float(canvas.min())), max(1.0, float(canvas.max()))
        axes.imshow(canvas[0].numpy(), cmap=cmap, clim=limits)
    else:
        axes.imshow(canvas[:3].movedim(0, -1).clamp(0, 1).numpy())
    axes.set_xticks([])
    height = padded.shape[-2]
    axes.set_yticks([height * (row + 0.5) for row in range(len(rows))], map(str, range(len(rows))))
