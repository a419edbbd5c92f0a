# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The partition's share of a training step of DRPM-VC on a machine that others use as well.

``python -m benchmarks.shared_machine`` keeps as many other processes busy as there are cores, and
times steps with one thread, and with as many threads as there are cores: while threads that wait
for others spin, which is the default of OpenMP, and while they sleep, ``OMP_WAIT_POLICY=PASSIVE``.
Each run is a process of its own. Prints the mean of every run and what it is of one thread's, and
saves the means. Nothing of ``models`` is imported, which would let all threads sleep.
"""

from __future__ import annotations

import csv
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pyro
import torch

from benchmarks.training_step import CASES, training_step

RUNS, STEPS = 10, 20
LOSSES = ["lemma", "guide"]  # with bounds, and with the exact mass
RESULTS = Path("results/benchmarks/shared_machine.csv")


class Way(NamedTuple):
    """How threads work and wait."""

    name: str
    threads: int
    policy: str | None


def ways() -> list[Way]:
    """Give what is compared, first what the others are compared with."""
    cores = len(os.sched_getaffinity(0))
    return [
        Way("one thread", 1, None),
        Way(f"{cores} threads that spin", cores, None),
        Way(f"{cores} threads that sleep", cores, "PASSIVE"),
    ]


@contextmanager
def busy_processes() -> Iterator[None]:
    """Keep all cores busy."""
    command = [sys.executable, "-c", "while True: pass"]
    processes = [subprocess.Popen(command) for _ in os.sched_getaffinity(0)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()


def mean_milliseconds(loss: str) -> float:
    """Mean of a step in this process, after two that warm up."""
    torch.manual_seed(0)
    with pyro.validation_enabled(False):
        for _ in range(2):
            training_step(CASES[0], loss)
        start = time.perf_counter()
        for _ in range(STEPS):
            training_step(CASES[0], loss)
    return 1e3 * (time.perf_counter() - start) / STEPS


def measure(way: Way, loss: str) -> float:
    """The same in a process of its own."""
    environment = dict(os.environ, OMP_NUM_THREADS=str(way.threads))
    environment.pop("OMP_WAIT_POLICY", None)
    if way.policy is not None:
        environment["OMP_WAIT_POLICY"] = way.policy
    code = f"from benchmarks import shared_machine as m; print(m.mean_milliseconds({loss!r}))"
    command = [sys.executable, "-W", "ignore", "-c", code]
    return float(subprocess.check_output(command, env=environment, text=True))


def main() -> None:
    """Prints a table for each loss."""
    rows: list[tuple[str, str, int, float]] = []
    with busy_processes():
        for loss in LOSSES:
            print(f"\n{loss}, milliseconds per step in {RUNS} runs\n")
            alone = 0.0
            for way in ways():
                times = [measure(way, loss) for _ in range(RUNS)]
                rows += [(loss, way.name, run, t) for run, t in enumerate(times)]
                alone = alone or statistics.median(times)
                ratios = f"{statistics.median(times) / alone:.1f}, at most {max(times) / alone:.1f}"
                print(f"{way.name:<24} {' '.join(f'{t:.0f}' for t in times)}    {ratios} times")
    with RESULTS.open("w", newline="") as file:
        csv.writer(file).writerows([("loss", "threads", "run", "milliseconds"), *rows])
    print(f"\ntimes        {RESULTS}")


if __name__ == "__main__":
    main()
