# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""What there is to know about this library on a GPU, in one command of about seven minutes.

``python -m benchmarks.gpu`` runs the tests that are about GPUs, counts and times the kernels of
training steps, beside what launching so many and moving the results through memory would take, and
times a piece of the paper's protocol for DRPM-VC. What fails is told, and the rest goes on. It
needs what ``pip install "pyro-drpm[models,test]"`` installs, and no network. Without a GPU it does
the same on the CPU, at a small size.
"""

from __future__ import annotations

import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pyro
import torch
import tyro
from torch.profiler import ProfilerActivity, profile
from torch.utils.benchmark import Timer

from benchmarks import protocol
from benchmarks.training_step import CASES, Case, training_step
from models.runs.tables import write_csv
from models.training.captured import capture, warm_up

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
TESTS = Path(__file__).parents[1] / "tests" / "cuda"
SECONDS = 0.5  # for each time to be measured
LARGE = [
    Case(f"n = {n:,}, K = {k:,}", n=n, num_subsets=k, batch=batch, samples=1)
    for n, k, batch in (
        (10_000, 10, 1),
        (1_000_000, 10, 1),
        (10_000_000, 10, 1),
        (100_000, 1000, 1),
        (10_000, 10_000, 1),
        (50, 10, 10_000),
    )
]
SMALL = [Case("n = 1,000, K = 10", n=1000, num_subsets=10, batch=1, samples=1)]


@dataclass(frozen=True)
class Settings:
    """Measure everything on a GPU, or on the CPU at a small size."""

    out: Path = Path("runs/gpu")
    """Directory of the table, as CSV and as Markdown."""
    minutes: float = 7.0
    """What has not begun by then is left out; the tests are stopped after half of it."""


class Row(NamedTuple):
    """A result."""

    section: str
    case: str
    quantity: str
    value: str


@dataclass(frozen=True)
class Floor:
    """What nothing can be faster than.

    Attributes:
        seconds_per_kernel: In a graph of kernels that do next to nothing.
        bytes_per_second: Of a copy, read and written.
    """

    seconds_per_kernel: float
    bytes_per_second: float


def seconds_of(run: Callable[[], object]) -> float:
    """Mean seconds of a run, after one that warms up."""
    run()
    timer = Timer("run()", globals={"run": run})
    return timer.blocked_autorange(min_run_time=SECONDS).mean


def wait() -> None:
    """Wait for the GPU, if there is one."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def captured(run: Callable[[], object]) -> Callable[[], object]:
    """Give a run as a CUDA graph; without a GPU, itself."""
    if DEVICE.type != "cuda":
        return run
    warm_up(run)
    return capture(run).replay


def measure_floor() -> Floor:
    """Time kernels that do next to nothing, and a copy."""
    small, number = torch.zeros(1, device=DEVICE), 1000
    large = torch.zeros((1 << 28) if DEVICE.type == "cuda" else 1 << 22, device=DEVICE)
    target = torch.empty_like(large)

    def kernels() -> None:
        for _ in range(number):
            small.add_(1)

    return Floor(
        seconds_of(captured(kernels)) / number,
        2 * large.nbytes / seconds_of(lambda: target.copy_(large)),
    )


def count_kernels(run: Callable[[], object]) -> int:
    """Number of kernels, copies and fills of a run; without a GPU, of operations."""
    gpu = DEVICE.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if gpu else ProfilerActivity.CPU]) as profiled:
        run()
        wait()
    if gpu:
        cuda = torch.autograd.DeviceType.CUDA
        return sum(event.device_type == cuda for event in profiled.events())
    return sum(not event.cpu_children for event in profiled.events())


def tests(settings: Settings) -> Iterator[Row]:
    """Run the tests that are about GPUs."""
    report, seconds = settings.out / "tests.xml", 30 * settings.minutes
    command = [sys.executable, "-m", "pytest", "-q", str(TESTS), f"--junitxml={report}"]
    subprocess.run(command, cwd=TESTS.parents[1], capture_output=True, timeout=seconds)
    (suite,) = ElementTree.parse(report).getroot()
    for name in ("tests", "failures", "errors", "skipped"):
        yield Row("tests", "tests/cuda", name, suite.attrib[name])
    for case in suite:
        for failure in [*case.findall("failure"), *case.findall("error")]:
            reason = failure.attrib.get("message", "").partition("\n")[0]
            yield Row("tests", case.attrib["name"], "failed", reason)


def steps(floor: Floor, case: Case) -> Iterator[Row]:
    """Time a draw, its exact log-mass and all gradients."""
    with torch.device(DEVICE), pyro.validation_enabled(False):
        step = partial(training_step, case, "guide")
        if DEVICE.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        launched, number = seconds_of(step), count_kernels(step)
        row = partial(Row, "step", case.name)
        yield row("launched, ms", f"{1e3 * launched:.2f}")
        yield row("kernels", f"{number}")
        if DEVICE.type == "cuda":
            yield row("peak memory, MB", f"{torch.cuda.max_memory_allocated() / 2**20:.0f}")
            yield row("replayed, ms", f"{1e3 * seconds_of(captured(step)):.2f}")
        yield row("launches alone, ms", f"{1e3 * number * floor.seconds_per_kernel:.2f}")
        # The partition is written, and read for its mass and for both gradients.
        entries = case.n * case.num_subsets * case.batch * case.samples
        yield row("traffic alone, ms", f"{1e3 * 16 * entries / floor.bytes_per_second:.3f}")


def protocol_rows(settings: protocol.Settings) -> Iterator[Row]:
    """Time pieces of the paper's protocol."""
    for stage in protocol.measure(settings):
        row = partial(Row, f"protocol for {settings.dataset}", stage.stage)
        yield row("launched, ms", f"{stage.launched:.2f}")
        if stage.replayed is not None:
            yield row("replayed, ms", f"{stage.replayed:.2f}")
        yield row("all of it, minutes", f"{stage.minutes:.1f}")


def sections(settings: Settings, floor: Floor) -> Iterator[tuple[str, Callable[[], Iterator[Row]]]]:
    """Give all that is to be measured, the most important first."""
    gpu = DEVICE.type == "cuda"
    yield "tests", partial(tests, settings)
    for case in [*CASES, *LARGE] if gpu else SMALL:
        yield case.name, partial(steps, floor, case)
    for dataset in ("mnist", "fashion-mnist") if gpu else ("digits",):
        yield (
            "protocol",
            partial(protocol_rows, protocol.Settings(dataset, batches=20 if gpu else 1)),
        )


def measure(settings: Settings) -> Iterator[Row]:
    """Give all results; what fails or has no time left is one as well."""
    start = time.monotonic()
    floor = measure_floor()
    yield Row("floor", "a kernel", "launch, microseconds", f"{1e6 * floor.seconds_per_kernel:.2f}")
    yield Row("floor", "a copy", "GB/s", f"{floor.bytes_per_second / 1e9:.0f}")
    for name, section in sections(settings, floor):
        if time.monotonic() - start > 60 * settings.minutes:
            yield Row(name, "", "left out", "no time")
            continue
        try:
            yield from section()
        except Exception as error:  # is told, and the rest goes on
            yield Row(name, "", "failed", f"{type(error).__name__}: {error}".partition("\n")[0])


def main(settings: Settings) -> None:
    """Print all results as they come, and save them."""
    settings.out.mkdir(parents=True, exist_ok=True)
    card = torch.cuda.get_device_name() if DEVICE.type == "cuda" else "no GPU"
    title = f"{card}, torch {torch.__version__}, {time.strftime('%Y-%m-%d')}"
    print(title)
    rows: list[Row] = []
    for row in measure(settings):
        print(*row, sep="  ", flush=True)
        rows.append(row)
        save(settings.out, card, title, rows)  # whoever stops it keeps what there is
    print(f"\ntable        {settings.out / 'gpu.csv'}\ntext         {settings.out / 'gpu.md'}")


def save(out: Path, card: str, title: str, rows: list[Row]) -> None:
    """Write all results as CSV and as Markdown."""
    write_csv(out / "gpu.csv", ("card", *Row._fields), ((card, *row) for row in rows))
    lines = [Row._fields, ["---"] * len(Row._fields), *rows]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    (out / "gpu.md").write_text(f"{title}\n\n{table}")


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
