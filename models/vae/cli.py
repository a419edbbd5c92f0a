# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Command line of DRPM-VAE."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Sequence

from joblib import Parallel, delayed

from models.cli import one_line_errors, parse_settings, training_session
from models.curves import Curves, draw_curves, write_curves
from models.data import load_factor_images
from models.runs import prepare_run
from models.vae.config import PRESETS, Config
from models.vae.evaluate import Result, Scores, accuracy_table, estimate_table
from models.vae.experiment import Job, all_jobs, run_job
from models.vae.figures import save_estimates
from models.vae.train import PairTraining

__all__ = ["main"]

TABLE = "table2.csv"
FIGURE = "figure3.png"


def main(args: Sequence[str] | None = None) -> None:
    """Run the experiment; a bad argument or file ends it with one line and exit code 2."""
    with one_line_errors():
        config = parse_settings("python -m models.vae", PRESETS, args)
        check_data(config)
        jobs = all_jobs(config)
        prepare_run(
            config.out,
            config.to_json(),
            config.resume,
            repetitions=list(dict.fromkeys(job.repetition for job in jobs)),
            stages=config.methods,
            results=(TABLE, FIGURE),
        )
    outcomes = Parallel(n_jobs=config.jobs)(delayed(_run)(config, job) for job in jobs)
    results = [result for result, _ in outcomes]
    save_curves(config, jobs, [curves for _, curves in outcomes])
    report(config, results)


def _run(config: Config, job: Job) -> tuple[Result, dict[str, list[float]]]:
    with training_session():
        return run_job(config, job)


def check_data(config: Config) -> None:
    """Load the data and build the networks once, before anything is trained.

    Raises:
        ValueError: If the file is bad, has fewer factors than shall be shared, or images of a size
            that the networks cannot take.
    """
    data = load_factor_images(config.dataset, config.data_dir, config.image_size)
    most = len(data.factor_sizes)
    if not 0 <= min(config.n_shared) <= max(config.n_shared) <= most:
        raise ValueError(f"n_shared must be numbers from 0 to {most}, but is {config.n_shared}")
    PairTraining(config, config.methods[0], data.image_shape)


def save_curves(config: Config, jobs: list[Job], curves: list[dict[str, list[float]]]) -> None:
    """Write and draw the learning curves of every repetition."""
    by_repetition: dict[str, Curves] = defaultdict(dict)
    for job, metrics in zip(jobs, curves, strict=True):
        by_repetition[job.repetition][job.method] = metrics
    for repetition, stages in by_repetition.items():
        write_curves(config.out / repetition / "curves.csv", stages)
        draw_curves(config.out / repetition / "curves.png", stages)


def report(config: Config, results: list[Result]) -> None:
    """Print both tables, save every score, draw figure 3, and tell where the files are."""
    with (config.out / TABLE).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("method", "n_shared", "seed", *Scores._fields))
        writer.writerows((r.method, r.n_shared, r.seed, *r.scores) for r in results)
    save_estimates(config.out / FIGURE, results)
    print(f"\n{config.dataset}, {config.seeds} seed(s)\n")
    print("Adjusted balanced accuracy on shared (S) and independent (I) factors\n")
    print(accuracy_table(results))
    print("\nEstimated number of shared factors, and its squared error\n")
    print(estimate_table(results))
    print(f"\nscores       {config.out / TABLE}\nfigure       {config.out / FIGURE}")
    for pattern, kind in (("*.ckpt", "checkpoint"), ("*.png", "figure")):
        for path in sorted(config.out.glob(f"n_shared-*/seed-*/{pattern}")):
            print(f"{kind:<13}{path}")
