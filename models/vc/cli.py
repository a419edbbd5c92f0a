# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Command line of DRPM-VC."""

from __future__ import annotations

import argparse
import csv
import logging
import sys
import warnings
from collections import defaultdict
from collections.abc import Sequence
from typing import cast

import pyro
import torch
import tyro

from models.data import DatasetName, load_images
from models.vc.config import PRESETS, Config
from models.vc.directory import prepare_directory, seed_directory
from models.vc.evaluate import Scores, format_table
from models.vc.experiment import Experiment

__all__ = ["main", "parse"]


def main(args: Sequence[str] | None = None) -> None:
    """Run the experiment; a bad argument or file ends it with one line and exit code 2."""
    # Lightning tells about accelerators and tips at this level; progress bars suffice.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)
    try:
        config = parse(args)
        data = load_images(config.dataset, config.data_dir)
        prepare_directory(config)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    results: dict[str, list[Scores]] = defaultdict(list)
    # The networks of a run keep their parameters to themselves, where the optimisers find them.
    with pyro.settings.context(module_local_params=True):
        for seed in range(config.seed, config.seed + config.seeds):
            for method, scores in Experiment(config, data, seed).run().items():
                results[method].append(scores)
    report(config, results)


def parse(args: Sequence[str] | None = None) -> Config:
    """Read the settings, with the defaults of the dataset that the arguments name.

    Raises:
        ValueError: If a setting is out of its range, or there is no GPU to train on.
    """
    dataset = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    dataset.add_argument("--dataset", default="digits")
    name = cast(DatasetName, dataset.parse_known_args(args)[0].dataset)
    config = tyro.cli(
        Config,
        prog="python -m models.vc",
        default=PRESETS.get(name, PRESETS["digits"]),
        args=args,
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    config.validate()
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is cuda, but torch finds no GPU: use --device cpu")
    return config


def report(config: Config, results: dict[str, list[Scores]]) -> None:
    """Print the table of all methods, save every score, and tell where the files are."""
    path = config.out / "metrics.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("seed", "method", *Scores._fields))
        for method, repetitions in results.items():
            writer.writerows((config.seed + i, method, *s) for i, s in enumerate(repetitions))
    print(f"\n{config.dataset}, test images, {config.seeds} seed(s)\n\n{format_table(results)}\n")
    print(f"scores       {path}")
    for seed in range(config.seed, config.seed + config.seeds):
        directory = seed_directory(config, seed)
        print(f"checkpoint   {directory / 'drpm.ckpt'}")
        for figure in sorted((directory / "figures").iterdir()):
            print(f"figure       {figure}")
