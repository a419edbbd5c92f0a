# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""One training of one method, and its evaluation."""

from __future__ import annotations

from typing import NamedTuple

import pyro

from models.data import MultiTaskData, load_multi_task
from models.mtl.config import Config, Method
from models.mtl.evaluate import Scores, score
from models.mtl.train import TaskTraining
from models.runs.curves import Curves
from models.runs.jobs import job_stage
from models.training.batches import ShuffledBatches
from models.training.failures import stage_errors
from models.training.seeds import derive_seed

__all__ = ["Job", "Result", "all_jobs", "load_data", "run_job"]


class Job(NamedTuple):
    """What is trained.

    Attributes:
        method: Which neurons a task reads.
        condition: Noise ratio of the right digit, or number of attributes of CelebA; none for data
            of one's own.
        seed: Seed of the repetition.
    """

    method: Method
    condition: float | None
    seed: int

    @property
    def repetition(self) -> str:
        """Name of the directory, which the methods have in common."""
        condition = "tasks" if self.condition is None else f"condition-{self.condition}"
        return f"{condition}/seed-{self.seed}"

    @property
    def stages(self) -> tuple[str]:
        """Name of the only stage."""
        return (self.method,)


class Result(NamedTuple):
    """The scores of one training.

    Attributes:
        job: What was trained.
        task_names: Names of the tasks.
        scores: Accuracies and sizes.
    """

    job: Job
    task_names: tuple[str, ...]
    scores: Scores


def all_jobs(config: Config) -> list[Job]:
    """Give all trainings of a run."""
    of_others: dict[str, tuple[float | None, ...]] = {"celeba": config.num_tasks, "own": (None,)}
    conditions = of_others.get(config.dataset, config.noise_ratios)
    return [
        Job(method, condition, seed)
        for seed in config.all_seeds
        for condition in conditions
        for method in config.methods
    ]


def load_data(config: Config, job: Job) -> MultiTaskData:
    """Load or make the images of a job, if they are not one's own.

    Raises:
        ValueError: If a file is missing or damaged, or the condition out of range.
    """
    if config.dataset == "own":
        raise ValueError("dataset own needs images: give them with --data and --labels")
    condition = job.condition or 0.0
    if config.dataset == "celeba":
        return load_multi_task("celeba", config.data_dir, num_tasks=int(condition))
    return load_multi_task(config.dataset, config.data_dir, noise_ratio=condition, seed=job.seed)


def run_job(config: Config, job: Job, own: MultiTaskData | None = None) -> tuple[Result, Curves]:
    """Train or resume, and evaluate.

    Args:
        config: Settings of the run.
        job: What is trained.
        own: Images of one's own; none for those of the dataset.

    Returns:
        The scores, and the learning curves.

    Raises:
        StageError: If the training diverges, or what came of it cannot be evaluated.
    """
    data = load_data(config, job) if own is None else own
    pyro.set_rng_seed(derive_seed(job.seed, "networks"))
    training = TaskTraining(config, job.method, data)
    stage = job_stage(
        config,
        job,
        job.method,
        config.epochs,
        title="" if job.condition is None else f"condition {job.condition}",
        remedy=f"a smaller --learning-rate than {config.learning_rate} may help",
    )
    batches = ShuffledBatches((data.train_images, data.train_labels), config.batch_size)
    curves: Curves = {job.method: stage.fit(training, batches)}
    training.to(config.torch_device)
    with stage_errors(job.method, stage.remedy):
        return Result(job, data.task_names, score(training, data)), curves
