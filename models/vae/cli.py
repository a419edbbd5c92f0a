# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Command line of DRPM-VAE."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from lightning.fabric.utilities import rank_zero_only

from models.data import OwnPairs, load_factor_images, load_pairs
from models.runs.cli import one_line_errors, parse_settings
from models.runs.jobs import prepare_jobs, print_files, run_jobs
from models.runs.tables import write_csv
from models.training.failures import StageError
from models.vae.config import PRESETS, Config, own_preset
from models.vae.evaluate import Result, Scores, accuracy_table, estimate_table
from models.vae.experiment import all_jobs, run_job
from models.vae.figures import save_estimates
from models.vae.train import PairTraining

__all__ = ["main"]

TABLE = "table2.csv"
FIGURE = "figure3.png"


def main(args: Sequence[str] | None = None) -> None:
    """Run the experiment; a bad setting or file ends it with one line and exit code 2."""
    with one_line_errors():
        pairs, presets = _own_presets(args)
        config = parse_settings("python -m models.vae", presets, args)
        check_data(config)
        jobs = all_jobs(config)
        prepare_jobs(config, jobs, results=(TABLE, FIGURE))
    with one_line_errors(StageError):
        results = run_jobs(partial(run_job, pairs=pairs), config, jobs)
    report_own(config, results) if config.data else report(config, results)
    print_files(config.out, jobs)


def _own_presets(args: Sequence[str] | None) -> tuple[OwnPairs | None, dict[str, Config]]:
    """Read the pairs that the arguments name, and give the defaults for them."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--data", nargs="*", type=Path, default=[])
    parser.add_argument("--array")
    parser.add_argument("--factors")
    given = parser.parse_known_args(args)[0]
    if not given.data:
        return None, PRESETS
    pairs = load_pairs(tuple(given.data), array=given.array, factors=given.factors)
    preset = own_preset(pairs.image_shape, len(pairs))
    out = preset.out / given.data[0].stem
    return pairs, {"own": dataclasses.replace(preset, out=out)}


def check_data(config: Config) -> None:
    """Load the data and build the networks once, before anything is trained.

    Raises:
        ValueError: If the file is bad, or has fewer factors than shall be shared.
    """
    if config.dataset == "own":  # read already
        return
    data = load_factor_images(config.dataset, config.data_dir, config.image_size)
    most = len(data.factor_sizes)
    if not 0 <= min(config.n_shared) <= max(config.n_shared) <= most:
        raise ValueError(f"n_shared must be numbers from 0 to {most}, but is {config.n_shared}")
    PairTraining(config, config.methods[0], data.image_shape)


@rank_zero_only
def report_own(config: Config, results: list[Result]) -> None:
    """Print and save the scores of pairs of one's own, and say what to look at."""
    _write_scores(config, results)
    print(f"\n{' and '.join(map(str, config.data))}, every fifth pair, {config.seeds} seed(s)\n")
    print(f"Number of shared dims of {config.latent_dim}, and its squared error if known\n")
    print(f"{estimate_table(results)}\n")
    if config.factors:
        print("Adjusted balanced accuracy on shared (S) and independent (I) factors\n")
        print(f"{accuracy_table(results)}\n")
    print("Look at the swaps: do reconstructions show the pairs, and does the image of the shared")
    print("part of one and the independent part of the other show what it should?\n")
    print(f"scores       {config.out / TABLE}")


def _write_scores(config: Config, results: list[Result]) -> None:
    header = ("method", "n_shared", "seed", *Scores._fields)
    rows = ((r.method, r.n_shared, r.seed, *r.scores) for r in results)
    write_csv(config.out / TABLE, header, rows)


@rank_zero_only
def report(config: Config, results: list[Result]) -> None:
    """Print both tables, save every score, and draw figure 3."""
    _write_scores(config, results)
    save_estimates(config.out / FIGURE, results)
    print(f"\n{config.dataset}, {config.seeds} seed(s)\n")
    print("Adjusted balanced accuracy on shared (S) and independent (I) factors\n")
    print(accuracy_table(results))
    print("\nEstimated number of shared factors, and its squared error\n")
    print(estimate_table(results))
    print(f"\nscores       {config.out / TABLE}\nfigure       {config.out / FIGURE}")
