# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Trainings of a run that do not depend on each other: one method, one condition, one seed each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from joblib import Parallel, delayed
from lightning.fabric.utilities import rank_zero_only

from models.runs.curves import Curves, draw_curves, write_curves
from models.runs.directory import prepare_run
from models.runs.settings import RunSettings
from models.training.session import training_session
from models.training.stages import Stage

__all__ = ["JobSettings", "TrainingJob", "job_stage", "prepare_jobs", "print_files", "run_jobs"]


@dataclass(frozen=True)
class JobSettings(RunSettings):
    """Settings of a run that consists of jobs."""

    jobs: int = 1
    """Number of trainings that run at once, each in a process of its own."""

    def validate(self) -> None:
        super().validate()
        self.require_positive("jobs")
        if self.jobs > 1 and self.hardware.num_processes > 1:
            raise ValueError(
                f"jobs must be 1 where several devices train together, but is {self.jobs}"
            )


_PRINTED = {"*.ckpt": "checkpoint", "*-shared-*.csv": "shared dims", "*.png": "figure"}


class TrainingJob(Protocol):
    """What is trained.

    Attributes:
        seed: Seed of the repetition.
        repetition: Directory of the checkpoints relative to that of the run.
        stages: Names of the training stages, and of their checkpoints.
    """

    @property
    def seed(self) -> int: ...

    @property
    def repetition(self) -> str: ...

    @property
    def stages(self) -> Sequence[str]: ...


Settings = TypeVar("Settings", bound=JobSettings)
Job = TypeVar("Job", bound=TrainingJob)
Outcome = TypeVar("Outcome")


def prepare_jobs(
    settings: JobSettings, jobs: Sequence[TrainingJob], results: Sequence[str]
) -> None:
    """Make the directory of the settings ready for the jobs, see :func:`~models.runs.prepare_run`.

    Args:
        settings: Settings of the run.
        jobs: What to train.
        results: Other files that the run writes, relative to its directory.
    """
    prepare_run(
        settings.out,
        settings.to_json(),
        settings.resume,
        repetitions=list(dict.fromkeys(job.repetition for job in jobs)),
        stages=list(dict.fromkeys(stage for job in jobs for stage in job.stages)),
        results=results,
    )


def job_stage(
    settings: RunSettings, job: TrainingJob, name: str, epochs: int, *, title: str, remedy: str
) -> Stage:
    """Give a stage of a job, for which the settings of the run say where and how it is trained.

    Args:
        settings: Settings of the run.
        job: What is trained.
        name: Name of the stage.
        epochs: Number of epochs.
        title: Of the progress bar.
        remedy: What to do if the training diverges.
    """
    return Stage(
        name,
        settings.out / job.repetition,
        job.seed,
        epochs,
        settings.checkpoint_every,
        settings.hardware,
        title,
        remedy,
        settings.progress,
    )


def run_jobs(
    run: Callable[[Settings, Job], tuple[Outcome, Curves]],
    settings: Settings,
    jobs: Sequence[Job],
) -> list[Outcome]:
    """Run all jobs, some of them at once, and save their learning curves.

    Args:
        run: Trains and evaluates; called with the settings and a job, it gives the outcome and the
            learning curves of the job's stages.
        settings: Settings of the run.
        jobs: What to train.

    Returns:
        The outcome of each job.
    """

    def in_session(job: Job) -> tuple[Outcome, Curves]:
        with training_session(settings.hardware):
            return run(settings, job)

    done = Parallel(n_jobs=settings.jobs)(delayed(in_session)(job) for job in jobs)
    _save_curves(settings.out, jobs, [curves for _, curves in done])
    return [outcome for outcome, _ in done]


@rank_zero_only
def _save_curves(out: Path, jobs: Sequence[TrainingJob], curves: Sequence[Curves]) -> None:
    """Write and draw the curves of every repetition, all its jobs together."""
    by_repetition: dict[str, Curves] = defaultdict(dict)
    for job, of_job in zip(jobs, curves, strict=True):
        by_repetition[job.repetition].update(of_job)
    for repetition, stages in by_repetition.items():
        write_curves(out / repetition / "curves.csv", stages)
        draw_curves(out / repetition / "curves.png", stages)


@rank_zero_only
def print_files(out: Path, jobs: Sequence[TrainingJob]) -> None:
    """Print the paths of the checkpoints and figures of all repetitions, a line each."""
    for repetition in dict.fromkeys(job.repetition for job in jobs):
        for pattern, kind in _PRINTED.items():
            for path in sorted((out / repetition).glob(pattern)):
                print(f"{kind:<13}{path}")
