# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Figures of the posterior and of its calibration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from matplotlib.figure import Figure
from pandas import DataFrame
from scipy.stats import binom
from torch import Tensor

from models.elections.calibration import rank_counts
from models.elections.data import Elections

__all__ = ["save_leans", "save_ranks"]

_LEVEL = 0.95  # probability of the band around the histogram of ranks, bar by bar


def save_leans(path: Path, elections: Elections, summaries: Mapping[str, DataFrame]) -> None:
    """Draw the log-score of every state, mean and two standard deviations.

    Args:
        path: Where to save the figure.
        elections: What was observed.
        summaries: A summary of each posterior by its name; the first gives the order.
    """
    names = [f"log_s[{state}]" for state in elections.states]
    first = next(iter(summaries.values()))
    order = first.loc[names, "mean"].to_numpy().argsort()
    figure = Figure(figsize=(7, 10), layout="constrained")
    ax = figure.subplots()
    for i, (label, summary) in enumerate(summaries.items()):
        rows = summary.loc[[names[j] for j in order]]
        height = [j + 0.22 * (i - (len(summaries) - 1) / 2) for j in range(len(order))]
        ax.errorbar(rows["mean"], height, xerr=2 * rows["sd"], fmt="o", markersize=3, label=label)
    ax.set_yticks(range(len(order)), [elections.states[j] for j in order], fontsize=7)
    ax.set(xlabel="log score: how far a state leans to the Republican side", ylim=(-1, len(order)))
    ax.axvline(0, color="grey", linewidth=0.5)
    ax.legend()
    figure.savefig(path)


def save_ranks(path: Path, ranks: Mapping[str, Tensor], num_draws: int, num_bins: int = 10) -> None:
    """Draw histograms of the ranks of simulation-based calibration, which should be flat.

    Args:
        path: Where to save the figure.
        ranks: From 0 to ``num_draws``, shape ``(replications, parameters)``, by site.
        num_draws: Number of draws that the truth was ranked among.
        num_bins: Number of bars, a divisor of ``num_draws + 1``.
    """
    figure = Figure(figsize=(8, 3), layout="constrained")
    panels = figure.subplots(1, len(ranks), sharey=True)
    for ax, (name, values) in zip(panels, ranks.items(), strict=True):
        # Parameters of a site are exchangeable; but those of a data set depend on each other, so
        # that the band is that of a single parameter.
        counts = torch.stack([rank_counts(column, num_draws, num_bins) for column in values.mT])
        low, high = binom.interval(_LEVEL, len(values), 1 / num_bins)
        ax.axhspan(low, high, color="0.9")
        ax.plot(counts.mT.numpy(), drawstyle="steps-mid", linewidth=1)
        ax.set(title=name, xlabel="rank of the truth, in tenths", ylim=(0, None))
    panels[0].set(ylabel="data sets")
    figure.savefig(path)
