# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Command line of DRPM-VC."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Sequence

from lightning.fabric.utilities import rank_zero_only

from models.cli import one_line_errors, parse_settings, training_session
from models.data import load_images
from models.vc.config import PRESETS, Config
from models.vc.directory import prepare_directory, seed_directory
from models.vc.evaluate import Scores, score_table
from models.vc.experiment import Experiment

__all__ = ["main"]


def main(args: Sequence[str] | None = None) -> None:
    """Run the experiment; a bad argument or file ends it with one line and exit code 2."""
    with one_line_errors():
        config = parse_settings("python -m models.vc", PRESETS, args)
        data = load_images(config.dataset, config.data_dir)
        prepare_directory(config)
    results: dict[str, list[Scores]] = defaultdict(list)
    with training_session(config.hardware):
        for seed in config.all_seeds:
            for method, scores in Experiment(config, data, seed).run().items():
                results[method].append(scores)
    report(config, results)


@rank_zero_only
def report(config: Config, results: dict[str, list[Scores]]) -> None:
    """Print the table of all methods, save every score, and tell where the files are."""
    path = config.out / "metrics.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("seed", "method", *Scores._fields))
        for method, repetitions in results.items():
            writer.writerows((config.seed + i, method, *s) for i, s in enumerate(repetitions))
    print(f"\n{config.dataset}, test images, {config.seeds} seed(s)\n\n{score_table(results)}\n")
    print(f"scores       {path}")
    for seed in config.all_seeds:
        directory = seed_directory(config, seed)
        print(f"checkpoint   {directory / 'drpm.ckpt'}")
        for figure in sorted((directory / "figures").iterdir()):
            print(f"figure       {figure}")
