# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Command line of DRPM-VC: experiments with its datasets, and one's own data."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path

from lightning.fabric.utilities import rank_zero_only

from models.data import Items, fit_scaler, load_items
from models.data.items import are_pixels
from models.runs.cli import one_line_errors, parse_settings
from models.runs.jobs import print_files, run_jobs
from models.runs.tables import format_table, mean_and_std, write_csv
from models.training.failures import StageError
from models.vc import own
from models.vc.config import Config, OwnDataSettings, Pretraining
from models.vc.data import load_dataset
from models.vc.directory import TABLE, prepare_directory
from models.vc.estimator import DRPMVC
from models.vc.evaluate import Scores
from models.vc.experiment import Result, all_jobs, run_job
from models.vc.own_report import MODEL, RESULTS, describe, report
from models.vc.paper import paper_scores
from models.vc.presets import PRESETS, own_preset

__all__ = ["main"]

_NAME = "python -m models.vc"
_CLUSTERS_OF_OWN = 8  # if nothing else is known


def main(args: Sequence[str] | None = None) -> None:
    """Run the experiment; a bad setting or file ends it with one line and exit code 2."""
    with one_line_errors():
        items, presets = _own_presets(args)
        config = parse_settings(_NAME, presets, args, chosen_by=("dataset", "preset"))
    if items is None:
        run_experiment(config)
    else:
        run_own(config, items)


def run_experiment(config: Config) -> None:
    """Compare methods on a dataset."""
    with one_line_errors():
        data = load_dataset(config.dataset, config.data_dir, config.evaluate_on)
        jobs = all_jobs(config)
        config.check_data(data.item_shape, len(data.train))
        prepare_directory(config, jobs)
    with one_line_errors(StageError):
        results = list(chain(*run_jobs(partial(run_job, data=data), config, jobs)))
    report_scores(config, results)
    print_files(config.out, jobs)


def run_own(config: Config, items: Items) -> None:
    """Cluster one's own data."""
    with one_line_errors():
        scaler = fit_scaler(items.values, config.own.scaling)
        data = own.own_data(items.values, scaler, items.labels)
        jobs = all_jobs(config)
        own.prepare(config, jobs, data, RESULTS)
    _print(describe(config, items))
    with one_line_errors(StageError):
        fitted = own.run(config, jobs, data)
    model = DRPMVC.of_run(config, data, scaler, fitted, items.columns)
    rank_zero_only(model.save)(config.out / MODEL)
    report(config, items, data, fitted)


@rank_zero_only
def _print(text: str) -> None:
    print(text, flush=True)


def _own_presets(args: Sequence[str] | None) -> tuple[Items | None, dict[str, Config]]:
    """Read the file that the arguments name, and give the defaults for it."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in ("data", "array", "labels", "ids", "num-clusters"):
        parser.add_argument(f"--{name}", f"--{name.replace('-', '_')}", dest=name)
    given = vars(parser.parse_known_args(args)[0])
    if given["data"] is None:
        return None, PRESETS
    names = {name: given[name] for name in ("array", "labels", "ids")}
    items = load_items(Path(given["data"]), **names)
    wanted = given["num-clusters"] or ""
    num_clusters = int(wanted) if wanted.isdecimal() else len(items.classes) or _CLUSTERS_OF_OWN
    shape, number = items.values.shape[1:], len(items.values)
    is_pixels = are_pixels(items.values)
    preset = own_preset(shape, number, max(num_clusters, 1), is_pixels=is_pixels)
    out = preset.out / Path(given["data"]).stem
    return items, {"own": replace(preset, out=out, own=OwnDataSettings(**names))}


@rank_zero_only
def report_scores(config: Config, results: Sequence[Result]) -> None:
    """Print a table for each pretraining, and save every score."""
    path, epochs = config.out / TABLE, config.training.epochs
    header = ("dataset", "preset", "pretraining", "method", "seed", "epochs", *Scores._fields)
    scores = (
        (config.dataset, config.preset, r.job.pretraining, r.method, r.job.seed, epochs, *r.scores)
        for r in results
        if r.scores is not None
    )
    write_csv(path, header, scores)
    images = f"{config.dataset}, {config.evaluate_on} images, {config.seeds} seed(s)"
    for pretraining in config.pretrainings:
        print(f"\n{images}, {pretraining} pretraining\n")
        rows = _rows(config, pretraining, results)
        print(format_table(("", "NMI", "ARI", "ACC", "paper"), rows))
    print(f"\nscores       {path}")


def _rows(
    config: Config, pretraining: Pretraining, results: Sequence[Result]
) -> Iterator[tuple[str, ...]]:
    for method in config.methods:
        scores = [
            r.scores
            for r in results
            if (r.job.pretraining, r.method) == (pretraining, method) and r.scores is not None
        ]
        paper = paper_scores(config.dataset, pretraining, method)
        yield method, *map(mean_and_std, zip(*scores, strict=True)), paper
