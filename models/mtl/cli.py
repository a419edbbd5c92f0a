# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Command line of DRPM-MTL."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from lightning.fabric.utilities import rank_zero_only

from models.data import MultiTaskData, load_own_tasks
from models.mtl.config import PRESETS, Config, own_preset
from models.mtl.experiment import Result, all_jobs, load_data, run_job
from models.mtl.figures import save_noise_figure, save_task_figure
from models.runs.cli import one_line_errors, parse_settings
from models.runs.jobs import prepare_jobs, print_files, run_jobs
from models.runs.tables import format_table, mean_and_std, write_csv
from models.training.failures import StageError

__all__ = ["main"]

NOISE_TABLE, NOISE_FIGURE, ATTRIBUTE_TABLE = "figure4.csv", "figure4.png", "table6.csv"
TASK_TABLE, TASK_FIGURE = "tasks.csv", "tasks.png"
RESULTS = (NOISE_TABLE, NOISE_FIGURE, ATTRIBUTE_TABLE, TASK_TABLE, TASK_FIGURE)


def main(args: Sequence[str] | None = None) -> None:
    """Run the experiment; a bad setting or file ends it with one line and exit code 2."""
    with one_line_errors():
        own, presets = _own_presets(args)
        config = parse_settings("python -m models.mtl", presets, args)
        jobs = all_jobs(config)
        if own is None:
            load_data(config, max(jobs, key=lambda job: job.condition or 0))
        prepare_jobs(config, jobs, results=RESULTS)
    report = report_tasks if config.dataset in {"celeba", "own"} else report_noise
    with one_line_errors(StageError):
        results = run_jobs(partial(run_job, own=own), config, jobs)
    report(config, results)
    print_files(config.out, jobs)


def _own_presets(args: Sequence[str] | None) -> tuple[MultiTaskData | None, dict[str, Config]]:
    """Read the images and labels that the arguments name, and give the defaults for them."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in ("data", "labels", "ids", "array"):
        parser.add_argument(f"--{name}")
    given = parser.parse_known_args(args)[0]
    if given.data is None or given.labels is None:
        return None, PRESETS
    data = load_own_tasks(Path(given.data), Path(given.labels), array=given.array, ids=given.ids)
    images = data.train_images
    preset = own_preset(tuple(images.shape[1:]), len(images))
    return data, {"own": replace(preset, out=preset.out / Path(given.data).stem)}


@rank_zero_only
def report_noise(config: Config, results: Sequence[Result]) -> None:
    """Print and save the scores for each noise ratio, and draw figure 4."""
    path, figure = config.out / NOISE_TABLE, config.out / NOISE_FIGURE
    header = ("method", "alpha", "seed", "epochs")
    names = [f"{kind}_{task}" for kind in ("accuracy", "size") for task in ("left", "right")]
    write_csv(
        path,
        ("dataset", *header, *names),
        (
            (config.dataset, *r.job, config.epochs, *r.scores.accuracies, *r.scores.sizes)
            for r in results
        ),
    )
    save_noise_figure(figure, results)
    print(f"\n{config.dataset}, test images, {config.seeds} seed(s)\n")
    print(format_table(("", "left", "right", "mean", "left size", "right size"), _rows(results)))
    print(f"\nscores       {path}\nfigure       {figure}")


@rank_zero_only
def report_tasks(config: Config, results: Sequence[Result]) -> None:
    """Print and save the scores of all tasks: table 6 for the attributes of CelebA."""
    is_own = config.dataset == "own"
    path = config.out / (TASK_TABLE if is_own else ATTRIBUTE_TABLE)
    header = ("dataset", "method", "num_tasks", "seed", "epochs", "task", "accuracy", "size")
    write_csv(
        path,
        header,
        (
            (config.dataset, *r.job, config.epochs, *of_task)
            for r in results
            for of_task in zip(r.task_names, *r.scores, strict=True)
        ),
    )
    name = f"{config.data}, every fifth image" if is_own else f"{config.dataset}, test images"
    print(f"\n{name}, {config.seeds} seed(s)\n")
    for condition in dict.fromkeys(r.job.condition for r in results):
        of_condition = [r for r in results if r.job.condition == condition]
        print(format_table(("", *config.methods), _attribute_rows(of_condition, config)) + "\n")
    print(f"scores       {path}")
    if is_own:
        save_task_figure(config.out / TASK_FIGURE, results)
        print(f"figure       {config.out / TASK_FIGURE}: which tasks need many neurons?")


def _rows(results: Sequence[Result]) -> Iterator[tuple[str, ...]]:
    for condition, method in sorted({(r.job.condition or 0, r.job.method) for r in results}):
        scores = [r.scores for r in results if r.job[:2] == (method, condition)]
        left, right = zip(*(s.accuracies for s in scores), strict=True)
        left_size, right_size = zip(*(s.sizes for s in scores), strict=True)
        means = [s.mean_accuracy for s in scores]
        columns = (left, right, means, left_size, right_size)
        yield f"{method} {condition}", *map(mean_and_std, columns)


def _attribute_rows(results: Sequence[Result], config: Config) -> Iterator[tuple[str, ...]]:
    by_method = [[r.scores for r in results if r.job.method == m] for m in config.methods]
    for task, name in enumerate(results[0].task_names):
        yield name, *(mean_and_std([s.accuracies[task] for s in scores]) for scores in by_method)
    yield "mean", *(mean_and_std([s.mean_accuracy for s in scores]) for scores in by_method)
