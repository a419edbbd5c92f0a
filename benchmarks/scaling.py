# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Time and memory against the number of elements, side by side with dense and other relaxations.

``python -m benchmarks.scaling`` measures every operation in a process of its own, from small to
large, writes a table and draws both costs on logarithmic axes with the slopes of their fits.
"""

from __future__ import annotations

import csv
import importlib.util
import itertools
import math
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from math import nan
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
import tyro
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from benchmarks.peers import lapsum_partition, soft_ranks
from models.runs.palette import style
from pyro_drpm import DRPM
from pyro_drpm.ops.noise import gumbel
from pyro_drpm.ops.relaxation.neuralsort import neural_sort

TEMPERATURE = 0.5
FITTED_FROM = 1_000  # slopes are those of larger numbers of elements


@dataclass(frozen=True)
class Settings:
    """Measure the cost of random partitions against the number of elements.

    Everything is measured with the first dtype, number of subsets, number of samples and size of
    the batch, and with each of the others in its place.
    """

    elements: tuple[int, ...] = (16, 64, 256, 1_000, 4_000, 16_000, 100_000, 1_000_000)
    """Numbers of elements n, ascending."""
    subsets: tuple[int, ...] = (10, 2, 100)
    """Numbers of subsets K."""
    samples: tuple[int, ...] = (1, 100)
    """Numbers of partitions L that are drawn at once."""
    batches: tuple[int, ...] = (1,)
    """Numbers of partitions B with parameters of their own."""
    operations: tuple[str, ...] = ()
    """What is measured, by its name in the table; everything if nothing is named."""
    dtypes: tuple[Literal["float32", "float64"], ...] = ("float32", "float64")
    """Precision of the parameters."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where to measure."""
    repetitions: int = 5
    """Repetitions of a measurement, of which the median counts."""
    max_seconds: float = 20.0
    """An operation that takes longer is not repeated, nor tried with more elements."""
    out: Path = Path("results/benchmarks")
    """Directory of the table and the picture."""


class Case(NamedTuple):
    """What is measured."""

    operation: str
    device: str
    dtype: str
    num_subsets: int
    samples: int
    batch: int
    n: int


class Variation(NamedTuple):
    """What is measured with all numbers of elements."""

    dtype: str
    num_subsets: int
    samples: int
    batch: int


class Cost(NamedTuple):
    """Median time of one call, and what it adds to the peak memory of the process."""

    seconds: float
    megabytes: float


def sample(case: Case) -> Callable[[], object]:
    """Draw without gradients."""
    return make_partition(case, learnable=False).sample


def log_prob(case: Case) -> Callable[[], object]:
    """Exact log-mass without gradients."""
    partition = make_partition(case, learnable=False)
    Y = partition.sample()
    return lambda: partition.log_prob(Y)


def bounds(case: Case) -> Callable[[], object]:
    """Bounds of lemma 4.2 without gradients."""
    partition = make_partition(case, learnable=False)
    Y = partition.sample()
    return lambda: partition.log_prob_bounds(Y)


def step(case: Case) -> Callable[[], object]:
    """Draw, exact log-mass, and backward through both."""

    def run() -> None:
        partition = make_partition(case)
        Y = partition.rsample()
        (downstream(Y) + partition.log_prob(Y).sum()).backward()

    return run


def draw_by_flow(case: Case) -> Callable[[], object]:
    """Draw and backward, the default."""
    return lambda: downstream(make_partition(case).rsample()).backward()


def draw_relaxed(case: Case) -> Callable[[], object]:
    """Draw and backward with the paper's relaxation, NeuralSort in a band."""
    return lambda: downstream(make_partition(case, gradient="relaxed").rsample()).backward()


def draw_dense(case: Case) -> Callable[[], object]:
    """The relaxed permutation of a given partition with NeuralSort's whole matrix, and backward."""
    return permuting(case, lambda scores: neural_sort(scores, TEMPERATURE))


def draw_diffsort(case: Case) -> Callable[[], object]:
    """The same with diffsort's matrix of an odd-even sorting network."""
    from diffsort import DiffSortNet

    network = DiffSortNet("odd_even", case.n, device=case.device)

    def permutation(scores: Tensor) -> Tensor:
        _, matrix = network(scores.flatten(0, -2))
        return matrix.mT.unflatten(0, scores.shape[:-1])

    return permuting(case, permutation)


def draw_softtorch(case: Case) -> Callable[[], object]:
    """The same with softtorch's matrix of a bitonic sorting network."""
    from softtorch import argsort

    soft = partial(argsort, softness=TEMPERATURE, method="sorting_network", standardize=False)
    return permuting(case, partial(soft, descending=True))


def draw_lapsum(case: Case) -> Callable[[], object]:
    """The soft partition of LapSum, of as equal sizes as possible, and backward."""
    first = torch.arange(case.num_subsets, device=case.device) < case.n % case.num_subsets
    sizes = case.n // case.num_subsets + first.long()
    return lambda: downstream(
        lapsum_partition(perturbed_scores(case), sizes, TEMPERATURE)
    ).backward()


def rank_softly(case: Case) -> Callable[[], object]:
    """Ranks by projection onto the permutahedron, and backward: the sorting alone."""

    def ranks(scores: Tensor) -> Tensor:
        return torch.stack([soft_ranks(row, TEMPERATURE) for row in scores.flatten(0, -2)])

    return ranking(case, ranks)


def rank_softtorch(case: Case) -> Callable[[], object]:
    """The same by softtorch."""
    from softtorch import rank

    soft = partial(rank, dim=-1, mode="c0", method="fast_soft_sort", standardize=False)
    # Its ranks are divided by n - 1.
    return ranking(case, partial(soft, softness=TEMPERATURE * (case.n - 1), descending=False))


OPERATIONS: dict[str, Callable[[Case], Callable[[], object]]] = {
    "sample": sample,
    "log_prob": log_prob,
    "bounds": bounds,
    "step": step,
    "draw (flow)": draw_by_flow,
    "draw (relaxed)": draw_relaxed,
    "draw (dense)": draw_dense,
    "draw (diffsort)": draw_diffsort,
    "draw (softtorch)": draw_softtorch,
    "draw (LapSum)": draw_lapsum,
    "ranks (permutahedron)": rank_softly,
    "ranks (softtorch)": rank_softtorch,
}
NEEDED = {
    "draw (diffsort)": "diffsort",
    "draw (softtorch)": "softtorch",
    "ranks (softtorch)": "softtorch",
}


def make_partition(
    case: Case, learnable: bool = True, gradient: Literal["flow", "relaxed"] = "flow"
) -> DRPM:
    """A distribution with random parameters."""
    log_omega, log_s = (
        _randn(case, case.batch, size).requires_grad_(learnable)
        for size in (case.num_subsets, case.n)
    )
    partition = DRPM(
        log_omega=log_omega,
        log_s=log_s,
        temperature=TEMPERATURE,
        gradient=gradient,
        validate_args=False,
    )
    return partition.expand([case.samples, case.batch])


def perturbed_scores(case: Case) -> Tensor:
    """Scores ``(L, B, n)`` that carry gradients."""
    scores = _randn(case, case.batch, case.n)
    noise = gumbel(torch.Size([case.samples, *scores.shape]), scores.device).to(scores)
    return scores.requires_grad_() + noise


def _randn(case: Case, *shape: int) -> Tensor:
    return torch.randn(shape, dtype=getattr(torch, case.dtype), device=case.device)


def permuting(case: Case, permutation: Callable[[Tensor], Tensor]) -> Callable[[], object]:
    """Permute the same one-hot matrix by that of perturbed scores, and backward."""
    Y = make_partition(case, learnable=False).sample()
    return lambda: downstream(Y @ permutation(perturbed_scores(case))).backward()


def ranking(case: Case, ranks: Callable[[Tensor], Tensor]) -> Callable[[], object]:
    """Rank perturbed scores, and backward."""
    return lambda: ranks(perturbed_scores(case)).square().sum().backward()


def downstream(Y: Tensor) -> Tensor:
    """A loss whose gradient differs from element to element."""
    return (Y * torch.linspace(-1, 1, Y.shape[-1], dtype=Y.dtype, device=Y.device)).sum()


def measure(case: Case, repetitions: int, max_seconds: float) -> Cost:
    """Run an operation several times, after one that warms up and counts if it takes too long."""
    torch.manual_seed(0)
    run = OPERATIONS[case.operation](case)
    before = peak_megabytes(case.device)
    durations = [duration(run, case.device)]
    if durations[0] <= max_seconds:
        durations = [duration(run, case.device) for _ in range(repetitions)]
    return Cost(statistics.median(durations), peak_megabytes(case.device) - before)


def duration(run: Callable[[], object], device: str) -> float:
    """Seconds of a call."""
    start = time.perf_counter()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def peak_megabytes(device: str) -> float:
    """Peak memory so far, of the process or of PyTorch on the GPU."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure_all(settings: Settings) -> Iterator[tuple[Case, Cost]]:
    """Measure each case in a new process, whose peak memory nothing else has raised.

    What an operation raises is told, and the next one follows.
    """
    context = multiprocessing.get_context("spawn")
    operations = [
        name
        for name in settings.operations or OPERATIONS
        if importlib.util.find_spec(NEEDED.get(name, "torch"))
    ]
    for operation, variation in itertools.product(operations, variations(settings)):
        line = (operation, settings.device, *variation)
        for n in settings.elements:
            with ProcessPoolExecutor(1, context) as pool:
                try:
                    limits = settings.repetitions, settings.max_seconds
                    cost = pool.submit(measure, Case(*line, n), *limits).result()
                except Exception as error:  # mostly out of memory, or killed for it
                    message = f"{operation}, n={n}: {type(error).__name__}: {error}"
                    print(message.splitlines()[0])
                    break
            yield Case(*line, n), cost
            if cost.seconds > settings.max_seconds:
                break


def variations(settings: Settings) -> list[Variation]:
    """The first of each, and all others one at a time."""
    choices = settings.dtypes, settings.subsets, settings.samples, settings.batches
    first: list[Any] = [choice[0] for choice in choices]
    others = [
        [*first[:i], value, *first[i + 1 :]]
        for i, choice in enumerate(choices)
        for value in choice[1:]
    ]
    return [Variation(*row) for row in (first, *others)]


def slope(results: Sequence[tuple[Case, Cost]], column: str) -> float:
    """Exponent of the growth with n, fitted where n is large."""
    points = [(case.n, getattr(cost, column)) for case, cost in results]
    logs = [(math.log(n), math.log(y)) for n, y in points if n >= FITTED_FROM and y > 0]
    return statistics.linear_regression(*zip(*logs, strict=True)).slope if len(logs) > 1 else nan


def draw_costs(path: Path, results: Sequence[tuple[Case, Cost]]) -> None:
    """Draw time and memory of every operation against n, a row for each variation."""
    rows: dict[Variation, list[tuple[Case, Cost]]] = {}
    for case, cost in results:
        key = Variation(case.dtype, case.num_subsets, case.samples, case.batch)
        rows.setdefault(key, []).append((case, cost))
    figure = Figure(figsize=(14, 4 * len(rows)), layout="constrained")
    panels = figure.subplots(len(rows), 2, squeeze=False)
    for row, (same, of_row) in zip(panels, rows.items(), strict=True):
        title = f"{same.dtype}, K = {same.num_subsets}, L = {same.samples}, B = {same.batch}"
        for axes, column in zip(row, Cost._fields, strict=True):
            _draw_panel(axes, of_row, column)
            axes.set(title=title, xlabel="n", ylabel=column)
    figure.savefig(path, dpi=80)


def _draw_panel(axes: Axes, results: Sequence[tuple[Case, Cost]], column: str) -> None:
    operations = itertools.groupby(results, key=lambda result: result[0].operation)
    for number, (operation, group) in enumerate(operations):
        costs = list(group)
        growth = slope(costs, column)
        label = operation + ("" if math.isnan(growth) else f": $n^{{{growth:.2f}}}$")
        # Memory that did not grow has no place on a logarithmic axis.
        points = [(case.n, getattr(cost, column) or nan) for case, cost in costs]
        axes.loglog(*zip(*points, strict=True), **style(number), label=label)
    axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))


def main() -> None:
    """Measure, print, write and draw."""
    settings = tyro.cli(Settings, prog="python -m benchmarks.scaling")
    unknown = set(settings.operations) - set(OPERATIONS)
    if unknown:
        sys.exit(f"error: operations are {', '.join(OPERATIONS)}, but got {', '.join(unknown)}")
    settings.out.mkdir(parents=True, exist_ok=True)
    table, picture = settings.out / "scaling.csv", settings.out / "scaling.png"
    print(f"torch {torch.__version__}, {settings.device}, {torch.get_num_threads()} threads")
    results = []
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow((*Case._fields, *Cost._fields))
        for case, cost in measure_all(settings):
            results.append((case, cost))
            writer.writerow((*case, *cost))
            same = f"{case.dtype} K={case.num_subsets} L={case.samples} B={case.batch}"
            print(f"{case.operation:<22}{same} n={case.n:<9}{1e3 * cost.seconds:>12.2f} ms", end="")
            print(f"{cost.megabytes:>9.0f} MB", flush=True)
    if not results:
        sys.exit("error: nothing could be measured")
    draw_costs(picture, results)
    print(f"\ncosts        {table}\nfigure       {picture}")


if __name__ == "__main__":
    main()
