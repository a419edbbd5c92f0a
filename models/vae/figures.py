# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Figures of DRPM-VAE: figure 3 of the paper, reconstructions and swaps."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import torch
import torch.nn.functional as F
from lightning.fabric.utilities import rank_zero_only
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from models.data import PairSource
from models.vae.evaluate import Result
from models.vae.posteriors import Posterior, aggregate, symmetric_divergence
from models.vae.train import PairTraining

__all__ = ["save_estimates", "save_swaps"]

_TITLES = (
    *("view 1", "view 2", "reconstruction 1", "reconstruction 2"),
    *("shared part of 1,\nindependent of 2", "shared part of 1,\nindependent of next"),
)
_GAP = 1  # pixels around every image


def save_estimates(path: Path, results: Iterable[Result]) -> None:
    """Draw estimated numbers of shared factors and their squared errors (figure 3 of the paper).

    Args:
        path: Where to save the figure.
        results: Scores of all trainings; bars are standard deviations over the seeds.
    """
    grouped: dict[str, dict[int, list[Result]]] = defaultdict(lambda: defaultdict(list))
    for result in results:
        if result.n_shared is not None:
            grouped[result.method][result.n_shared].append(result)
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for method, by_number in grouped.items():
        _draw_line(left, method, by_number, "estimated_shared")
        _draw_line(right, method, by_number, "squared_error")
    numbers = sorted({number for by_number in grouped.values() for number in by_number})
    left.plot(numbers, numbers, "k--", label="truth")
    left.set(xlabel="shared factors", ylabel="shared dims, mean", xticks=numbers)
    right.set(xlabel="shared factors", ylabel="squared error", xticks=numbers)
    left.legend()
    figure.savefig(path, dpi=150)


def _draw_line(axes: Axes, method: str, by_number: dict[int, list[Result]], attribute: str) -> None:
    numbers = sorted(by_number)
    values = [[getattr(r.scores, attribute) for r in by_number[number]] for number in numbers]
    deviations = [statistics.stdev(v) if len(v) > 1 else 0.0 for v in values]
    means = [statistics.fmean(v) for v in values]
    axes.errorbar(numbers, means, deviations, marker="o", capsize=3, label=method)


@torch.no_grad()
@rank_zero_only
def save_swaps(
    path: Path,
    training: PairTraining,
    source: PairSource,
    num_pairs: int = 6,
) -> None:
    """Draw pairs, their reconstructions, and images of mixed parts.

    The dims that a pair shares are taken as the first view alone sees them. With the independent
    dims of the second view they should show the second view; with those of the next pair's first
    view, an image that has the shared factors of one pair and the other factors of another.

    Args:
        path: Where to save the figure.
        training: A trained model.
        source: The pairs.
        num_pairs: Number of rows.
    """
    images = source.sample(num_pairs).images
    views = Posterior(*training.encoder(images.to(source.device)))
    shared = training.sharing.noiseless(symmetric_divergence(views))
    aggregated = aggregate(views, shared, training.average).mean
    own = views.mean[:, 0]
    mixed = [torch.lerp(other, own, shared) for other in (views.mean[:, 1], own.roll(-1, 0))]
    decoded = training.decoder(torch.stack([*aggregated.unbind(1), *mixed], 1)).sigmoid()
    _draw_grid(path, torch.cat([images, decoded], 1))


def _draw_grid(path: Path, images: Tensor) -> None:
    """Draw images ``(rows, columns, C, H, W)`` below the titles of the columns."""
    rows, columns = images.shape[:2]
    padded = F.pad(images.cpu(), (_GAP, _GAP, _GAP, _GAP), value=1.0)
    canvas = torch.cat([torch.cat(list(row), -1) for row in padded], -2)
    figure = Figure(figsize=(1.5 * columns, 1.5 * rows + 0.5), layout="constrained")
    axes = figure.subplots()
    axes.imshow(canvas.movedim(0, -1).squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=1)
    axes.xaxis.tick_top()
    centers = [padded.shape[-1] * (column + 0.5) for column in range(columns)]
    axes.set_xticks(centers, _TITLES, fontsize=8)
    axes.set_yticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.savefig(path, dpi=150)
