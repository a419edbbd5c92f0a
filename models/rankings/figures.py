# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Figure of the scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from torch import Tensor

__all__ = ["save_scores"]


def save_scores(
    path: Path, names: Sequence[str], mean: Tensor, sd: Tensor, broken: Sequence[Tensor]
) -> None:
    """Draw the log-scores of all alternatives.

    Args:
        path: Where to save the figure.
        names: Of the alternatives.
        mean: Of the posterior, shape ``(n,)``.
        sd: Its standard deviations.
        broken: Means of posteriors after ties were broken, ``(n,)`` each.
    """
    order = mean.argsort()
    height = range(len(order))
    figure = Figure(figsize=(6, 1.2 + 0.22 * len(order)), layout="constrained")
    ax = figure.subplots()
    ax.errorbar(mean[order], height, xerr=sd[order], fmt="o", markersize=4, label="exact")
    for i, other in enumerate(broken):
        label = "ties broken at random" if i == 0 else None
        ax.plot(other[order], height, "|", color="tab:red", markersize=9, label=label)
    ax.set_yticks(height, [names[i] for i in order], fontsize=8)
    ax.set(xlabel="log-score, mean and standard deviation")
    ax.legend()
    figure.savefig(path)
