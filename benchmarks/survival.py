# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Time and memory of a Cox partial likelihood and its gradient, beside other programs.

``python -m benchmarks.survival`` measures every case in a process of its own and writes
``results/survival/speed.csv``. torchsurv and lifelines are measured if they are installed. Of
lifelines, which gives no gradient for a network, it is the whole fit of five covariates.
"""

from __future__ import annotations

import importlib.util
import itertools
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
import tyro
from torch import Tensor

from models.runs.tables import format_table, write_csv
from pyro_drpm.survival import CoxPartialLikelihood
from pyro_drpm.types import TieMethod

COVARIATES = 5
REPETITIONS = 5


class Data(NamedTuple):
    """Covariates, numbers of periods and whether there was an event."""

    covariates: Tensor
    time: Tensor
    event: Tensor

    @property
    def log_hazard(self) -> Tensor:
        """Of the law that they were drawn from, to be differentiated by."""
        return (0.3 * self.covariates.sum(-1)).requires_grad_()


def make_data(n: int, periods: int) -> Data:
    """Exponential times in periods of equal numbers of subjects; three in ten are censored."""
    torch.manual_seed(0)
    x = torch.randn(n, COVARIATES, dtype=torch.float64)
    time = torch.distributions.Exponential((0.3 * x.sum(-1)).exp()).sample()
    return Data(x, time.argsort().argsort() * periods // n + 1, torch.rand(n) < 0.7)


def ours(ties: TieMethod, data: Data) -> Callable[[], object]:
    """A step of ours, sorted before."""
    likelihood, log_hazard = CoxPartialLikelihood(data.time, data.event, ties=ties), data.log_hazard
    return lambda: torch.autograd.grad(likelihood(log_hazard), log_hazard)


def torchsurv_efron(data: Data) -> Callable[[], object]:
    """A step of torchsurv, with Efron's approximation."""
    from torchsurv.loss.cox import neg_partial_log_likelihood

    log_hazard, times = data.log_hazard, data.time.double()

    def step() -> object:
        loss = neg_partial_log_likelihood(log_hazard, data.event, times, "efron", "sum")
        return torch.autograd.grad(loss, log_hazard)

    return step


def lifelines_efron(data: Data) -> Callable[[], object]:
    """A fit by lifelines, with Efron's approximation."""
    from lifelines import CoxPHFitter
    from pandas import DataFrame

    frame = DataFrame(data.covariates.numpy())
    frame["time"], frame["event"] = data.time.numpy(), data.event.numpy()
    return lambda: CoxPHFitter().fit(frame, "time", "event")


PROGRAMS: dict[str, Callable[[Data], Callable[[], object]]] = {
    "exact": partial(ours, "exact"),
    "Efron": partial(ours, "efron"),
    "Breslow": partial(ours, "breslow"),
    "Efron, torchsurv": torchsurv_efron,
    "Efron, fit by lifelines": lifelines_efron,
}
NEEDED = {"Efron, torchsurv": "torchsurv", "Efron, fit by lifelines": "lifelines"}


def measure(program: str, n: int, periods: int) -> tuple[float, float]:
    """Median milliseconds, and megabytes by which the first call raises the peak memory."""
    run = PROGRAMS[program](make_data(n, periods))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run()
    megabytes = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    durations = []
    for _ in range(REPETITIONS):
        start = time.perf_counter()
        run()
        durations.append(1e3 * (time.perf_counter() - start))
    return statistics.median(durations), megabytes


def main(
    subjects: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000),
    per_period: tuple[int, ...] = (1, 2, 10, 1_000),
    out: Path = Path("results/survival"),
) -> None:
    """Print a table and write it.

    Args:
        subjects: Their numbers.
        per_period: How many of them have each time.
        out: Directory of the table.
    """
    programs = [name for name in PROGRAMS if importlib.util.find_spec(NEEDED.get(name, "torch"))]
    context = multiprocessing.get_context("spawn")
    rows = []
    for n, each, program in itertools.product(subjects, per_period, programs):
        if program in NEEDED and n > 100_000:
            continue  # minutes
        with ProcessPoolExecutor(1, context) as pool:
            milliseconds, megabytes = pool.submit(measure, program, n, n // each).result()
        rows.append((program, str(n), str(each), f"{milliseconds:.1f}", f"{megabytes:.0f}"))
        print(*rows[-1], flush=True)
    header = ("program", "subjects", "per period", "ms", "MB")
    print(format_table(header, rows))
    write_csv(out / "speed.csv", header, rows)


if __name__ == "__main__":
    tyro.cli(main, prog="python -m benchmarks.survival")
