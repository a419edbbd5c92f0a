# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Trainings of a run that do not depend on each other: one method, one setting, one seed each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from joblib import Parallel, delayed

from models.cli import training_session
from models.curves import Curves, draw_curves, write_curves

__all__ = ["TrainingJob", "list_files", "run_jobs", "save_curves"]


class TrainingJob(Protocol):
    """What is trained.

    Attributes:
        method: Name of the method, and of the checkpoint.
        repetition: Directory of the checkpoint relative to that of the run.
    """

    @property
    def method(self) -> str: ...

    @property
    def repetition(self) -> str: ...


Settings = TypeVar("Settings")
Job = TypeVar("Job", bound=TrainingJob)
Outcome = TypeVar("Outcome")


def run_jobs(
    run: Callable[[Settings, Job], Outcome],
    settings: Settings,
    jobs: Sequence[Job],
    num_processes: int,
) -> list[Outcome]:
    """Run all jobs, some of them at once.

    Args:
        run: Trains and evaluates; called with the settings and a job.
        settings: Settings of the run.
        jobs: What to train.
        num_processes: Number of jobs that run at once.

    Returns:
        What ``run`` returned for each job.
    """

    def in_session(job: Job) -> Outcome:
        with training_session():
            return run(settings, job)

    return Parallel(n_jobs=num_processes)(delayed(in_session)(job) for job in jobs)


def save_curves(
    out: Path, jobs: Sequence[TrainingJob], curves: Sequence[dict[str, list[float]]]
) -> None:
    """Write and draw the learning curves of every repetition, all methods together.

    Args:
        out: Directory of the run.
        jobs: What was trained.
        curves: Values per epoch of every metric of each job.
    """
    by_repetition: dict[str, Curves] = defaultdict(dict)
    for job, metrics in zip(jobs, curves, strict=True):
        by_repetition[job.repetition][job.method] = metrics
    for repetition, stages in by_repetition.items():
        write_curves(out / repetition / "curves.csv", stages)
        draw_curves(out / repetition / "curves.png", stages)


def list_files(out: Path, jobs: Sequence[TrainingJob]) -> str:
    """List checkpoints and figures of all repetitions, a line each."""
    lines = []
    for repetition in dict.fromkeys(job.repetition for job in jobs):
        for pattern, kind in (("*.ckpt", "checkpoint"), ("*.png", "figure")):
            lines += [f"{kind:<13}{path}" for path in sorted((out / repetition).glob(pattern))]
    return "\n".join(lines)
