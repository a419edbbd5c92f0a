# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Figure 4 of the paper: accuracies and subset sizes against the noise of the right digit."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from models.mtl.experiment import Result
from models.runs.palette import COLORS

__all__ = ["save_noise_figure", "save_task_figure"]

_TITLES = {"uls": "ULS", "drpm": "DRPM-MTL"}
_COLORS = {"uls": COLORS[1], "drpm": COLORS[0]}


def save_noise_figure(path: Path, results: Sequence[Result]) -> None:
    """Draw the accuracy of each task, and the sizes of the subsets of DRPM-MTL.

    Args:
        path: Where to save the figure.
        results: Scores of all trainings; bars are standard deviations over the seeds.
    """
    task_names = results[0].task_names
    figure = Figure(figsize=(4.5 * (len(task_names) + 1), 3.8), layout="constrained")
    *panels, last = figure.subplots(1, len(task_names) + 1)
    methods = dict.fromkeys(result.job.method for result in results)
    for task, (axes, name) in enumerate(zip(panels, task_names, strict=True)):
        for method in methods:
            of_method = [r for r in results if r.job.method == method]
            _draw_line(
                axes, _TITLES[method], of_method, [r.scores.accuracies[task] for r in of_method]
            )
        axes.set(title=f"{name} digit", xlabel="noise ratio", ylabel="accuracy")
        axes.legend()
    partitioned = [r for r in results if r.job.method == "drpm"]
    for task, name in enumerate(task_names):
        _draw_line(last, name, partitioned, [r.scores.sizes[task] for r in partitioned])
    last.set(title=f"subsets of {_TITLES['drpm']}", xlabel="noise ratio", ylabel="neurons")
    last.legend()
    figure.savefig(path, dpi=150)


def save_task_figure(path: Path, results: Sequence[Result]) -> None:
    """Draw the accuracy of every task, and the neurons that it reads with DRPM-MTL.

    Args:
        path: Where to save the figure.
        results: Scores of all trainings on one dataset; means over the seeds.
    """
    task_names = results[0].task_names
    figure = Figure(figsize=(9, 1.5 + 0.4 * len(task_names)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    methods = list(dict.fromkeys(result.job.method for result in results))
    height = 0.8 / len(methods)
    tasks = range(len(task_names))
    for place, method in enumerate(methods):
        scores = [r.scores for r in results if r.job.method == method]
        accuracies, sizes = (
            [statistics.fmean(of_task) for of_task in zip(*values, strict=True)]
            for values in zip(*scores, strict=True)
        )
        offset = (place - (len(methods) - 1) / 2) * height
        rows = [task + offset for task in tasks]
        left.barh(rows, accuracies, height, label=_TITLES[method], color=_COLORS[method])
        if method == "drpm":
            right.barh(tasks, sizes, color=_COLORS[method])
    left.set(xlabel="accuracy", xlim=(0, 1))
    left.set_yticks(tasks, task_names)
    left.invert_yaxis()
    right.set(xlabel="neurons, mean of the images", title=f"subsets of {_TITLES['drpm']}")
    figure.legend(loc="outside upper left", ncols=len(methods))
    figure.savefig(path, dpi=150)


def _draw_line(axes: Axes, label: str, results: Sequence[Result], values: Sequence[float]) -> None:
    by_condition: dict[float, list[float]] = defaultdict(list)
    for result, value in zip(results, values, strict=True):
        by_condition[result.job.condition or 0].append(value)
    conditions = sorted(by_condition)
    repetitions = [by_condition[condition] for condition in conditions]
    means = [statistics.fmean(v) for v in repetitions]
    deviations = [statistics.stdev(v) if len(v) > 1 else 0.0 for v in repetitions]
    axes.errorbar(conditions, means, deviations, marker="o", capsize=3, label=label)
