# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Command line: methods on data sets, from several starts."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

from tqdm import tqdm

from models.known_sizes.data import DataName, Dataset, load_dataset
from models.known_sizes.evaluate import Scores, score
from models.known_sizes.figures import save_scores
from models.known_sizes.methods import METHODS, MethodName, Task
from models.known_sizes.results import Result
from models.known_sizes.starts import STARTS, StartName
from models.runs.cli import one_line_errors, parse_settings
from models.runs.settings import Settings
from models.runs.tables import format_table, write_csv

__all__ = ["Config", "main"]


@dataclass(frozen=True)
class Config(Settings):
    """Cluster data with classes of known sizes; methods know more or less of these sizes."""

    out: Path = Path("runs/known_sizes")
    """Directory of the results; those of a run that is there already are replaced."""
    seeds: int = 10
    """Number of starts of each kind, with consecutive seeds."""
    datasets: tuple[DataName, ...] = ("iris", "wine")
    """Data sets, which come with scikit-learn."""
    starts: tuple[StartName, ...] = get_args(StartName)
    """A good start, one run of k-means, and a bad one, any points as centers."""
    methods: tuple[MethodName, ...] = tuple(m for m in METHODS if m != "k-means-constrained")
    """DRPM with known sizes, in the order of the start or in any, with sizes between bounds, with
    unknown sizes; hard EM with optimal assignment; k-means with bounds (needs the package
    k-means-constrained); a Gaussian mixture, and the partition at the center of its independent
    draws."""
    steps: int = 300
    """Steps of each DRPM."""
    particles: int = 8
    """Partitions drawn in each step."""

    def validate(self) -> None:
        super().validate()
        self.require_positive("seeds", "steps")
        self.require_different("datasets", "starts", "methods")
        if self.particles < 2:  # each is compared with the others
            raise ValueError(f"particles must be at least 2, but is {self.particles}")
        if "k-means-constrained" in self.methods and find_spec("k_means_constrained") is None:
            raise ValueError(
                "methods must not hold k-means-constrained, unless the package of this name is "
                "installed: pip install k-means-constrained"
            )


def main(args: Sequence[str] | None = None) -> None:
    """Run it all; a bad argument ends it with one line and exit code 2."""
    with one_line_errors():
        config = parse_settings(
            "python -m models.known_sizes", {"default": Config()}, args, chosen_by=()
        )
        config.out.mkdir(parents=True, exist_ok=True)
    for dataset in config.datasets:
        results = list(_results(config, dataset, load_dataset(dataset)))
        table, figure = config.out / f"{dataset}.csv", config.out / f"{dataset}.png"
        _write(table, results)
        save_scores(figure, results)
        header = ("", "negative ELBO", "ARI", "Brier", "overconfidence", "seconds")
        for start in config.starts:
            print(f"\n{dataset}, {config.seeds} seed(s), from {start}\n")
            print(format_table(header, _rows([r for r in results if r.start == start])))
        print(f"\nscores       {table}\nfigure       {figure}")


def _results(config: Config, name: DataName, dataset: Dataset) -> Iterator[Result]:
    runs = [
        (start, seed, method)
        for start in config.starts
        for seed in range(config.seed, config.seed + config.seeds)
        for method in config.methods
    ]
    for start, seed, method in tqdm(runs, desc=name, unit="fit"):
        clusters = STARTS[start](dataset.points, len(dataset.sizes), seed)
        task = Task(dataset.points, dataset.sizes, clusters, seed, config.steps, config.particles)
        began = time.perf_counter()
        fit = METHODS[method](task)
        seconds = time.perf_counter() - began
        yield Result(name, start, method, seed, score(fit, dataset.classes), seconds)


def _write(path: Path, results: Sequence[Result]) -> None:
    header = (*Result._fields[:4], *Scores._fields, "seconds")
    write_csv(path, header, [(*r[:4], *r.scores, r.seconds) for r in results])


def _rows(results: Sequence[Result]) -> Iterator[tuple[str, ...]]:
    for method in dict.fromkeys(r.method for r in results):
        scores = [r.scores for r in results if r.method == method]
        losses = [s.loss for s in scores if s.loss is not None]
        cells = [[s.ari for s in scores], [s.brier for s in scores]]
        cells += [[s.overconfidence for s in scores]]
        seconds = statistics.median(r.seconds for r in results if r.method == method)
        yield (
            method,
            _median_and_range(losses, 1) if losses else "",
            *(_median_and_range(values, 3) for values in cells),
            f"{seconds:.2f}",
        )


def _median_and_range(values: Sequence[float], digits: int) -> str:
    """Median, least and greatest: what starts lead to has no normal law."""
    middle, least, most = statistics.median(values), min(values), max(values)
    return f"{middle:.{digits}f} [{least:.{digits}f}, {most:.{digits}f}]"
