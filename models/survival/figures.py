# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Figure of the coefficients."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure
from pandas import DataFrame

__all__ = ["save_coefficients"]


def save_coefficients(path: Path, table: DataFrame) -> None:
    """Draw means and standard deviations of all methods, a panel for every way to group.

    Args:
        path: Where to save the figure.
        table: Columns ``weeks``, ``ties``, ``covariate``, ``mean`` and ``sd``; of one week is what
            the others are compared with.
    """
    truth = table[table["weeks"] == 1]
    periods = [weeks for weeks in table["weeks"].unique() if weeks != 1]
    figure = Figure(figsize=(3.5 * len(periods), 4), layout="constrained")
    panels = figure.subplots(1, len(periods), sharey=True, squeeze=False)[0]
    height = range(len(truth))
    for ax, weeks in zip(panels, periods, strict=True):
        group = table[table["weeks"] == weeks]
        series = [("as recorded", truth), *group.groupby("ties", sort=False)]
        for i, (label, of) in enumerate(series):
            y = [at + 0.18 * (i - (len(series) - 1) / 2) for at in height]
            ax.errorbar(of["mean"], y, xerr=of["sd"], fmt="o", markersize=4, label=str(label))
        ax.axvline(0, color="grey", linewidth=0.5)
        ax.set(title=f"periods of {weeks} weeks", xlabel="coefficient")
    panels[0].set_yticks(height, truth["covariate"])
    panels[0].invert_yaxis()
    panels[-1].legend()
    figure.savefig(path)
