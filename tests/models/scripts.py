# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The training scripts that train a method per stage, and runs of them that take seconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

import models.mtl.cli
import models.mtl.config
import models.vae.cli
import models.vae.config
from models.mtl.train import TaskTraining
from models.training.losses import ObjectiveTraining
from models.vae.train import PairTraining
from tests.models.training_checks import error_line, read_csv, read_curves

__all__ = ["MTL", "SCRIPTS", "VAE", "Script"]


@dataclass(frozen=True)
class Script:
    """A training script and a tiny run of it.

    Attributes:
        main: The command line.
        learning_rates: The default of every dataset.
        training: What it trains.
        tiny: Arguments of the run.
        methods: What it compares.
        table: The file of the scores.
        figures: Files of the figures beside the learning curves.
        repetitions: Directories of the repetitions.
        part: Arguments for the last repetition alone.
        condition: Column of the table, and its value in the last repetition.
    """

    main: Callable[[Sequence[str]], None]
    learning_rates: Mapping[str, float]
    training: type[ObjectiveTraining]
    tiny: tuple[str, ...]
    methods: tuple[str, ...]
    table: str
    figures: tuple[str, ...]
    repetitions: tuple[str, ...]
    part: tuple[str, ...]
    condition: tuple[str, str]

    def run(self, out: Path, *args: str) -> None:
        self.main([*self.tiny, "--out", str(out), *args])

    def fail(self, capsys: pytest.CaptureFixture[str], out: Path, *args: str) -> str:
        return error_line(capsys, lambda: self.run(out, *args))

    def rows(self, out: Path) -> list[dict[str, str]]:
        return read_csv(out / self.table)

    def curves(self, out: Path) -> dict[str, list[str]]:
        """Give the losses of the last repetition."""
        return read_curves(out / self.repetitions[-1])

    def assert_same(self, out: Path, reference: Path, methods: Sequence[str]) -> None:
        """A run of the last repetition and of some methods has the results of a larger one."""
        column, value = self.condition
        expected = [
            row for row in self.rows(reference) if row[column] == value and row["method"] in methods
        ]
        assert len(expected) == len(methods) and self.rows(out) == expected
        curves = self.curves(reference)
        assert self.curves(out) == {method: curves[method] for method in methods}


_VAE_METHODS, _N_SHARED = ("label", "ada", "hg", "drpm"), (0, 3)

VAE = Script(
    main=models.vae.cli.main,
    learning_rates={name: p.learning_rate for name, p in models.vae.config.PRESETS.items()},
    training=PairTraining,
    tiny=(
        *("--image-size", "16", "--width", "4", "--num-features", "16", "--latent-dim", "4"),
        *("--epochs", "3", "--steps-per-epoch", "10", "--batch-size", "16"),
        *("--checkpoint-every", "2", "--learning-rate", "0.01", "--device", "cpu"),
        *("--train-pairs", "60", "--test-pairs", "40", "--n-shared", *map(str, _N_SHARED)),
    ),
    methods=_VAE_METHODS,
    table="table2.csv",
    figures=(
        "figure3.png",
        *(f"n_shared-{n}/seed-0/{method}-swaps.png" for n in _N_SHARED for method in _VAE_METHODS),
    ),
    repetitions=tuple(f"n_shared-{n}/seed-0" for n in _N_SHARED),
    part=("--n-shared", "3"),
    condition=("n_shared", "3"),
)

MTL = Script(
    main=models.mtl.cli.main,
    learning_rates={name: p.learning_rate for name, p in models.mtl.config.PRESETS.items()},
    training=TaskTraining,
    tiny=(
        *("--noise-ratios", "0.3", "--num-features", "8", "--batch-size", "64"),
        *("--epochs", "3", "--checkpoint-every", "2", "--device", "cpu"),
    ),
    methods=("uls", "drpm"),
    table="figure4.csv",
    figures=("figure4.png",),
    repetitions=("condition-0.3/seed-0",),
    part=(),
    condition=("alpha", "0.3"),
)

SCRIPTS = {"vae": VAE, "mtl": MTL}
