# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Learning curves, as a file of numbers and as a figure."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from models.runs.tables import write_csv

__all__ = ["Curves", "draw_curves", "write_curves"]

Curves = dict[str, dict[str, list[float]]]
"""Values per epoch of every metric of every stage."""


def write_curves(path: Path, curves: Curves) -> None:
    """Write the curves as CSV, one line per value.

    Args:
        path: Where to save the file.
        curves: Values per epoch of every metric of every stage.
    """
    rows = (
        (stage, metric, epoch, value)
        for stage, metrics in curves.items()
        for metric, values in metrics.items()
        for epoch, value in enumerate(values)
    )
    write_csv(path, ("stage", "metric", "epoch", "value"), rows)


def draw_curves(path: Path, curves: Curves) -> None:
    """Draw the metrics of every stage against the epoch.

    Args:
        path: Where to save the figure.
        curves: Values per epoch of every metric of every stage.
    """
    figure = Figure(figsize=(4 * len(curves), 3.5), layout="constrained")
    panels = figure.subplots(1, len(curves), squeeze=False)[0]
    for axes, (stage, metrics) in zip(panels, curves.items(), strict=True):
        for name, values in metrics.items():
            axes.plot(range(1, len(values) + 1), values, label=name)
        axes.set(title=stage, xlabel="epoch")
        axes.legend()
    figure.savefig(path, dpi=150)
