# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Time and memory of the partition's share of one training step.

At the sizes of the paper's models, draws L partitions, computes a loss and back-propagates through
all of it. The loss is the difference between the log-masses of guide and model: with the bounds of
lemma 4.2, exactly, and exactly for the guide alone; or that of ``TracePartition_ELBO``, whose
gradients have no bias, with either bound. Prints medians and least times of repetitions, and what
the peak memory grew by.
"""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import pyro
import torch
from torch import Tensor

from pyro_drpm import DRPM
from pyro_drpm.infer import TracePartition_ELBO


class Case(NamedTuple):
    """One size: ``batch`` parameter vectors, ``samples`` partitions of each."""

    name: str
    n: int
    num_subsets: int
    batch: int
    samples: int


CASES = [
    Case("DRPM-VC", n=256, num_subsets=10, batch=1, samples=100),
    Case("DRPM-MTL", n=50, num_subsets=2, batch=256, samples=1),
    Case("many subsets", n=64, num_subsets=20, batch=128, samples=1),
]
LOSSES = ["lemma", "exact", "guide", "ELBO, lemma", "ELBO, exact"]
REPETITIONS = 40


def training_step(case: Case, loss: str) -> None:
    """Draws, a loss, backward."""
    log_omega = torch.randn(case.batch, case.num_subsets).requires_grad_()
    log_s = torch.randn(case.batch, case.n).requires_grad_()
    prior_omega = torch.zeros(case.num_subsets).requires_grad_()
    equal = torch.zeros(1).expand(case.n)
    weight = torch.randn(case.num_subsets, case.n)

    def partitions(log_omega: Tensor, log_s: Tensor) -> DRPM:
        partition = DRPM(log_omega=log_omega, log_s=log_s, validate_args=False)
        return partition.expand([case.samples, case.batch])

    def downstream(Y: Tensor) -> Tensor:
        return (Y * weight).sum((-2, -1))

    samples, batch = (
        pyro.plate("samples", case.samples, dim=-2),
        pyro.plate("batch", case.batch, dim=-1),
    )

    def guide() -> None:
        with samples, batch:
            pyro.sample("Y", partitions(log_omega, log_s))

    def model() -> None:
        with samples, batch:
            pyro.factor("x", -downstream(pyro.sample("Y", partitions(prior_omega, equal))))

    if loss.startswith("ELBO"):
        elbo = TracePartition_ELBO("lemma" if "lemma" in loss else "exact")
        elbo.differentiable_loss(model, guide).backward()
        return
    q, p = partitions(log_omega, log_s), partitions(prior_omega, equal)
    Y = q.rsample()
    (downstream(Y).sum() + _difference(q, p, Y, loss)).backward()


def _difference(q: DRPM, p: DRPM, Y: Tensor, loss: str) -> Tensor:
    if loss == "guide":
        return q.log_prob(Y).sum()
    if loss == "exact":
        return (q.log_prob(Y) - p.log_prob(Y)).sum()
    return (q.log_prob_bounds(Y)[1] - p.log_prob_bounds(Y)[0]).sum()


def peak_memory() -> float:
    """Peak resident memory of the process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def settle_memory() -> None:
    """Free as large a tensor as the networks of a training do.

    From then on the C library keeps memory up to that size, instead of returning it to the system
    after every step and waiting for it at the next.
    """
    torch.empty(1 << 22)


def durations(step: Callable[[], None]) -> Iterator[float]:
    """Seconds of each repetition, after one that warms up."""
    step()
    for _ in range(REPETITIONS):
        start = time.perf_counter()
        step()
        yield time.perf_counter() - start


def main() -> None:
    """Prints a table."""
    torch.manual_seed(0)
    pyro.enable_validation(False)
    settle_memory()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, float32")
    print(
        f"{'case':<14}{'n':>5}{'K':>4}{'batch':>7}{'L':>5}  {'loss':<12}"
        f"{'median ms':>10}{'least ms':>10}{'MB':>6}"
    )
    for case in CASES:
        for loss in LOSSES:
            before = peak_memory()
            step = partial(training_step, case, loss)
            milliseconds = sorted(1e3 * seconds for seconds in durations(step))
            size = f"{case.n:>5}{case.num_subsets:>4}{case.batch:>7}{case.samples:>5}"
            print(
                f"{case.name:<14}{size}  {loss:<12}{statistics.median(milliseconds):>10.1f}"
                f"{milliseconds[0]:>10.1f}{peak_memory() - before:>6.0f}"
            )


if __name__ == "__main__":
    main()
