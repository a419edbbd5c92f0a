# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""One training of one method on pairs that share a number of factors, and its evaluation."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import pyro

from models.data import FactorPairs, OwnPairs, PairSource, load_factor_images
from models.runs.curves import Curves
from models.runs.jobs import job_stage
from models.training.failures import stage_errors
from models.training.seeds import derive_seed
from models.vae.config import Config
from models.vae.evaluate import Result, encode_pairs, save_shared_dims, score
from models.vae.figures import save_swaps
from models.vae.sharing import Method
from models.vae.train import PairBatches, PairTraining

__all__ = ["Job", "all_jobs", "run_job"]


class Job(NamedTuple):
    """What is trained.

    Attributes:
        method: How dims become shared.
        n_shared: Number of factors that the images of a pair share; none for pairs of one's own.
        seed: Seed of the repetition.
    """

    method: Method
    n_shared: int | None
    seed: int

    @property
    def repetition(self) -> str:
        """Name of the directory, which the methods have in common."""
        condition = "pairs" if self.n_shared is None else f"n_shared-{self.n_shared}"
        return f"{condition}/seed-{self.seed}"

    @property
    def stages(self) -> tuple[str]:
        """Name of the only stage."""
        return (self.method,)


def all_jobs(config: Config) -> list[Job]:
    """Give all trainings of a run."""
    numbers: tuple[int | None, ...] = (None,) if config.data else config.n_shared
    return [
        Job(method, n_shared, seed)
        for seed in config.all_seeds
        for n_shared in numbers
        for method in config.methods
    ]


def run_job(config: Config, job: Job, pairs: OwnPairs | None = None) -> tuple[Result, Curves]:
    """Train or resume, draw reconstructions and swaps, and evaluate.

    Args:
        config: Settings of the run.
        job: What is trained.
        pairs: Pairs of one's own; none for those of the dataset.

    Returns:
        The scores, and the learning curves.

    Raises:
        StageError: If the training diverges, or what came of it cannot be evaluated.
    """
    method, n_shared, seed = job
    sources = _sources(config, n_shared, pairs)
    pyro.set_rng_seed(derive_seed(seed, "networks"))
    training = PairTraining(config, method, sources[0].image_shape)
    stage = job_stage(
        config,
        job,
        method,
        config.epochs,
        title="" if n_shared is None else f"n_shared {n_shared}",
        remedy=f"a smaller --learning-rate than {config.learning_rate} may help",
    )
    batches = PairBatches(sources[0], config.batch_size, config.steps_per_epoch)
    curves: Curves = {method: stage.fit(training, batches)}
    training.to(sources[1].device).eval()
    pyro.set_rng_seed(derive_seed(seed, "evaluation"))
    numbers = config.train_pairs, config.test_pairs
    with stage_errors(method, stage.remedy):
        train, test = map(partial(encode_pairs, training), sources, numbers)
        scores = score(train, test)
    save_swaps(stage.directory / f"{method}-swaps.png", training, sources[1])
    for part, source, codes in zip(("train", "test"), sources, (train, test), strict=True):
        if isinstance(source, OwnPairs):
            path = stage.directory / f"{method}-shared-{part}.csv"
            save_shared_dims(path, source.ids, codes.shared_dims)
    return Result(method, n_shared, seed, scores), curves


def _sources(
    config: Config, n_shared: int | None, pairs: OwnPairs | None
) -> tuple[PairSource, PairSource]:
    """Pairs to train on, and those to look at what came of it."""
    device = config.torch_device
    if config.dataset == "own" or n_shared is None:
        if pairs is None:
            raise ValueError("dataset own needs pairs: give them with --data")
        train, test = pairs.to(device).split()
        return train, test
    data = load_factor_images(config.dataset, config.data_dir, config.image_size, device)
    source = FactorPairs(data, n_shared, config.shared_factors)
    return source, source
