# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""What there is to know about this library on a GPU, in one command of about eight minutes.

``python -m benchmarks.gpu`` runs the tests that are about GPUs, counts and times the kernels of
training steps, beside what launching so many and moving the results through memory would take, and
times a piece of the paper's protocol for DRPM-VC. What fails is told, and the rest goes on. It
needs what ``pip install "pyro-drpm[models,test]"`` installs, a C compiler for the test of
``torch.compile``, and no network. Without a GPU it does the same on the CPU, at a small size.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
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
LONG = 3.0  # seconds of a run that is timed only once


def case_of(n: int, num_subsets: int, batch: int = 1) -> Case:
    """Give a case that is not one of the paper's."""
    name = f"n = {n:,}, K = {num_subsets:,}" + (f", batch {batch:,}" if batch > 1 else "")
    return Case(name, n=n, num_subsets=num_subsets, batch=batch, samples=1)


LARGE = [case_of(10_000, 10), case_of(1_000_000, 10), case_of(10_000_000, 10)]
WIDE = [case_of(50, 10, 10_000), case_of(100_000, 1000), case_of(10_000, 10_000)]
SMALL = case_of(1000, 10)
LOSSES = ["guide", "ELBO, lemma", "ELBO, exact"]


@dataclass(frozen=True)
class Settings:
    """Measure everything on a GPU, or on the CPU at a small size."""

    out: Path = Path("runs/gpu")
    """Directory of the table, as CSV and as Markdown."""
    minutes: float = 8.0
    """What has not begun by then is left out; the tests are interrupted after half of it."""


class Row(NamedTuple):
    """A result."""

    section: str
    case: str
    quantity: str
    value: str


class Floor(NamedTuple):
    """What nothing can be faster than.

    Attributes:
        launch: Seconds of a kernel that does next to nothing, launched by Python.
        kernel: Seconds of one in a graph of them.
        bytes_per_second: Of a copy, read and written.
    """

    launch: float
    kernel: float
    bytes_per_second: float


def seconds_of(run: Callable[[], object]) -> float:
    """Mean seconds of a run, after one that warms up; what takes long is timed only once."""
    run()
    wait()
    start = time.perf_counter()
    run()
    wait()
    seconds = time.perf_counter() - start
    if seconds > LONG:
        return seconds
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


@cache
def measure_floor() -> Floor:
    """Time kernels that do next to nothing, and a copy."""
    small, number = torch.zeros(1, device=DEVICE), 1000
    large = torch.zeros((1 << 28) if DEVICE.type == "cuda" else 1 << 22, device=DEVICE)
    target = torch.empty_like(large)

    def kernels() -> None:
        for _ in range(number):
            small.add_(1)

    return Floor(
        seconds_of(kernels) / number,
        seconds_of(captured(kernels)) / number,
        2 * large.nbytes / seconds_of(lambda: target.copy_(large)),
    )


def count_kernels(run: Callable[[], object]) -> int:
    """Number of kernels, copies and fills of a run; without a GPU, of operations."""
    gpu = DEVICE.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if gpu else ProfilerActivity.CPU]) as profiled:
        run()
        wait()
    if not gpu:
        return sum(not event.cpu_children for event in profiled.events())
    kernels = sum(
        event.device_type == torch.autograd.DeviceType.CUDA for event in profiled.events()
    )
    if not kernels:
        raise RuntimeError("the profiler saw no kernel")
    return kernels


def tests(settings: Settings) -> Iterator[Row]:
    """Run the tests that are about GPUs."""
    report, output = (settings.out.resolve() / name for name in ("tests.xml", "tests.txt"))
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-v", "--durations=10", str(TESTS)]
    command += [f"--junitxml={report}"]
    if DEVICE.type == "cuda":
        # Most of the time Python launches kernels.
        command += ["-p", "xdist.plugin", "-n", "auto", "--maxprocesses", "8"]
    # Other plugins that are there may warn, which is an error here.
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    with output.open("w") as file:
        process = subprocess.Popen(
            command, cwd=TESTS.parents[1], env=environment, stdout=file, stderr=subprocess.STDOUT
        )
        try:
            process.wait(30 * settings.minutes)
        except subprocess.TimeoutExpired:
            yield Row("tests", "tests/cuda", "interrupted", "no time")
            process.send_signal(signal.SIGINT)  # it writes what it knows
            process.wait(30)
        finally:
            process.kill()
    if process.returncode not in {0, 1, 2}:  # passed, failed, interrupted
        raise RuntimeError(f"the tests ended with {process.returncode}: {output} says why")
    yield from outcomes(report)


def outcomes(report: Path) -> Iterator[Row]:
    """Read the report of the tests."""
    (suite,) = ElementTree.parse(report).getroot()
    for name in ("tests", "failures", "errors", "skipped"):
        yield Row("tests", "tests/cuda", name, suite.attrib[name])
    for case in suite:
        for failure in [*case.findall("failure"), *case.findall("error")]:
            reason = failure.attrib.get("message", "").partition("\n")[0]
            yield Row("tests", case.attrib["name"], "failed", reason)


def floors() -> Iterator[Row]:
    """Give what nothing can be faster than."""
    launch, kernel, bytes_per_second = measure_floor()
    yield Row("floor", "a kernel", "launched, microseconds", f"{1e6 * launch:.2f}")
    yield Row("floor", "a kernel", "replayed, microseconds", f"{1e6 * kernel:.2f}")
    yield Row("floor", "a copy", "GB/s", f"{bytes_per_second / 1e9:.0f}")


def steps(case: Case, loss: str) -> Iterator[Row]:
    """Time draws, their log-masses and all gradients, beside the floors of their kernels."""
    row = partial(Row, f"step, {loss}", case.name)
    with torch.device(DEVICE), pyro.validation_enabled(False):
        step = partial(training_step, case, loss)
        if DEVICE.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
        launched = seconds_of(step)
        yield row("launched, ms", f"{1e3 * launched:.2f}")
        if DEVICE.type == "cuda":
            memory = torch.cuda.max_memory_allocated() - before
            yield row("peak memory, MB", f"{memory / 2**20:.0f}")
        # The partition is written, and read for its mass and for both gradients.
        entries = case.n * case.num_subsets * case.batch * case.samples
        traffic = 16 * entries / measure_floor().bytes_per_second
        yield row("traffic alone, ms", f"{1e3 * traffic:.3f}")
        if launched > LONG:
            return  # its kernels would take minutes to count and to capture
        number = count_kernels(step)
        yield row("kernels", f"{number}")
        yield row("launches alone, ms", f"{1e3 * number * measure_floor().launch:.2f}")
        if DEVICE.type == "cuda":
            replayed, kernels = seconds_of(captured(step)), number * measure_floor().kernel
            yield row("replayed, ms", f"{1e3 * replayed:.2f}")
            yield row("kernels alone, ms", f"{1e3 * kernels:.2f}")
            yield row("replayed, times its floor", f"{replayed / max(kernels, traffic):.1f}")


def protocol_rows(settings: protocol.Settings) -> Iterator[Row]:
    """Time pieces of the paper's protocol."""
    name, minutes = f"protocol for {settings.dataset}", 0.0
    for stage in protocol.measure(settings):
        minutes += stage.minutes
        row = partial(Row, name, stage.stage)
        yield row("launched, ms", f"{stage.launched:.2f}")
        if stage.replayed is not None:
            yield row("replayed, ms", f"{stage.replayed:.2f}")
        yield row("all of it, minutes", f"{stage.minutes:.1f}")
    yield Row(name, "all stages", "all of it, minutes", f"{minutes:.1f}")


Section = tuple[str, Callable[[], Iterator[Row]]]


def steps_of(cases: Sequence[Case], losses: Sequence[str]) -> Iterator[Section]:
    """Give the steps of all cases with all losses."""
    for case, loss in itertools.product(cases, losses):
        yield case.name, partial(steps, case, loss)


def sections(settings: Settings) -> Iterator[Section]:
    """Give all that is to be measured, the most important first."""
    yield "tests", partial(tests, settings)
    yield "floor", floors
    if DEVICE.type == "cpu":
        yield from steps_of([SMALL], LOSSES)
        yield "protocol", partial(protocol_rows, protocol.Settings("digits", "cpu"))
        return
    yield from steps_of(CASES, LOSSES)
    yield from steps_of(LARGE, ["guide"])
    for dataset in ("mnist", "fashion-mnist"):
        yield "protocol", partial(protocol_rows, protocol.Settings(dataset, "cuda"))
    yield from steps_of(WIDE, ["guide"])


def measure(settings: Settings) -> Iterator[Row]:
    """Give all results; what fails or has no time left is one as well."""
    start = time.monotonic()
    for name, section in sections(settings):
        if time.monotonic() - start > 60 * settings.minutes:
            yield Row(name, "", "left out", "no time")
            continue
        try:
            yield from section()
        except Exception as error:  # is told, and the rest goes on
            yield Row(name, "", "failed", f"{type(error).__name__}: {error}".partition("\n")[0])


def main(settings: Settings) -> None:
    """Print all results as they come, and save them."""
    # Where it is ignored, as in the background of a script, it would not interrupt the tests.
    signal.signal(signal.SIGINT, signal.default_int_handler)
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
    table = "".join(
        f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |\n" for line in lines
    )
    (out / "gpu.md").write_text(f"{title}\n\n{table}")


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
