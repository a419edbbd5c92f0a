# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Scores of all starts in one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from models.known_sizes.results import Result

__all__ = ["save_scores"]


def save_scores(path: Path, results: Sequence[Result]) -> None:
    """Draw the adjusted Rand index and the Brier score of every method from every start.

    Args:
        path: Where to save the figure.
        results: Of one data set.
    """
    methods = list(dict.fromkeys(r.method for r in results))
    starts = list(dict.fromkeys(r.start for r in results))
    figure = Figure(figsize=(8, 1 + 0.4 * len(methods)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for i, start in enumerate(starts):
        kept = [r for r in results if r.start == start]
        height = [methods.index(r.method) + 0.3 * i - 0.15 * (len(starts) - 1) for r in kept]
        for ax, name in zip(panels, ("ari", "brier"), strict=True):
            values = [getattr(r.scores, name) for r in kept]
            ax.scatter(values, height, s=16, alpha=0.6, label=f"from {start}")
    panels[0].set(xlabel="adjusted Rand index", yticks=range(len(methods)), yticklabels=methods)
    panels[0].invert_yaxis()
    panels[1].set(xlabel="Brier score of the probabilities")
    panels[1].legend()
    figure.savefig(path, dpi=150)
