# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""One training of one method on pairs that share a number of factors, and its evaluation."""

from __future__ import annotations

from typing import NamedTuple

import pyro

from models.data import load_factor_images
from models.runs.curves import Curves
from models.runs.jobs import job_stage
from models.training.failures import stage_errors
from models.training.seeds import derive_seed
from models.vae.config import Config
from models.vae.evaluate import Result, encode_pairs, score
from models.vae.figures import save_swaps
from models.vae.sharing import Method
from models.vae.train import PairBatches, PairTraining

__all__ = ["Job", "all_jobs", "run_job"]


class Job(NamedTuple):
    """What is trained.

    Attributes:
        method: How dims become shared.
        n_shared: Number of factors that the images of a pair share.
        seed: Seed of the repetition.
    """

    method: Method
    n_shared: int
    seed: int

    @property
    def repetition(self) -> str:
        """Name of the directory, which the methods have in common."""
        return f"n_shared-{self.n_shared}/seed-{self.seed}"

    @property
    def stages(self) -> tuple[str]:
        """Name of the only stage."""
        return (self.method,)


def all_jobs(config: Config) -> list[Job]:
    """Give all trainings of a run."""
    return [
        Job(method, n_shared, seed)
        for seed in config.all_seeds
        for n_shared in config.n_shared
        for method in config.methods
    ]


def run_job(config: Config, job: Job) -> tuple[Result, Curves]:
    """Train or resume, draw reconstructions and swaps, and evaluate.

    Returns:
        The scores, and the learning curves.

    Raises:
        StageError: If the training diverges, or what came of it cannot be evaluated.
    """
    method, n_shared, seed = job
    data = load_factor_images(
        config.dataset, config.data_dir, config.image_size, config.torch_device
    )
    pyro.set_rng_seed(derive_seed(seed, "networks"))
    training = PairTraining(config, method, data.image_shape)
    stage = job_stage(
        config,
        job,
        method,
        config.epochs,
        title=f"n_shared {n_shared}",
        remedy=f"a smaller --learning-rate than {config.learning_rate} may help",
    )
    batches = PairBatches(
        data, n_shared, config.shared_factors, config.batch_size, config.steps_per_epoch
    )
    curves: Curves = {method: stage.fit(training, batches)}
    training.to(data.device).eval()
    pyro.set_rng_seed(derive_seed(seed, "evaluation"))
    with stage_errors(method, stage.remedy):
        train, test = (
            encode_pairs(training, data, n_shared, number, config.shared_factors)
            for number in (config.train_pairs, config.test_pairs)
        )
        scores = score(train, test, n_shared)
    save_swaps(
        stage.directory / f"{method}-swaps.png", training, data, n_shared, config.shared_factors
    )
    return Result(method, n_shared, seed, scores), curves
