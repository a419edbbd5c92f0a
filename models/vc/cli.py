# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Command line of DRPM-VC."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

from lightning.fabric.utilities import rank_zero_only

from models.data import load_images
from models.runs.cli import one_line_errors, parse_settings
from models.runs.jobs import print_files, run_jobs
from models.runs.tables import format_table, mean_and_std, write_csv
from models.training.failures import StageError
from models.vc.config import PRESETS, Config, Pretraining
from models.vc.directory import TABLE, prepare_directory
from models.vc.evaluate import Scores
from models.vc.experiment import Result, all_jobs, run_job
from models.vc.paper import paper_scores

__all__ = ["main"]


def main(args: Sequence[str] | None = None) -> None:
    """Run the experiment; a bad setting or file ends it with one line and exit code 2."""
    with one_line_errors():
        config = parse_settings(
            "python -m models.vc", PRESETS, args, chosen_by=("dataset", "preset")
        )
        data = load_images(config.dataset, config.data_dir, config.evaluate_on)
        config.check_number_of_images(len(data.train_images))
        jobs = all_jobs(config)
        prepare_directory(config, jobs)
    with one_line_errors(StageError):
        results = list(chain(*run_jobs(run_job, config, jobs)))
    report(config, results)
    print_files(config.out, jobs)


@rank_zero_only
def report(config: Config, results: Sequence[Result]) -> None:
    """Print a table for each pretraining, and save every score."""
    path, epochs = config.out / TABLE, config.training.epochs
    header = ("dataset", "preset", "pretraining", "method", "seed", "epochs", *Scores._fields)
    scores = (
        (config.dataset, config.preset, r.job.pretraining, r.method, r.job.seed, epochs, *r.scores)
        for r in results
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
            r.scores for r in results if (r.job.pretraining, r.method) == (pretraining, method)
        ]
        paper = paper_scores(config.dataset, pretraining, method)
        yield method, *map(mean_and_std, zip(*scores, strict=True)), paper
