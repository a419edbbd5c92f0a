# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""One repetition of the experiment: pretraining and all methods from the same weights."""

from __future__ import annotations

import math
import statistics
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import pyro
from lightning.fabric.utilities import rank_zero_only
from lightning.pytorch import LightningModule

from models.runs.curves import Curves
from models.runs.jobs import job_stage
from models.training.failures import require_finite, stage_errors
from models.training.seeds import derive_seed
from models.vc.config import Config, Method, Pretraining
from models.vc.data import ClusterData
from models.vc.evaluate import Scores, predict, score
from models.vc.figures import save_partition, save_samples
from models.vc.fit import Fit
from models.vc.methods import CLUSTERINGS, TRAININGS, ClusteringTask
from models.vc.networks import Autoencoder, encode
from models.vc.pretrainings import PRETRAININGS, PretrainingTask
from models.vc.starts import STARTS
from models.vc.train import DRPMVCTraining, VariationalTraining

__all__ = ["Job", "Result", "all_jobs", "prepare", "pretrain", "run_job", "train"]

LOG_SCALE_AFTER_PRETRAINING = -2.0


class Job(NamedTuple):
    """All methods from the same pretrained weights.

    Attributes:
        pretraining: How the autoencoder is pretrained.
        seed: Seed of the repetition.
        methods: What is trained from there.
    """

    pretraining: Pretraining
    seed: int
    methods: tuple[Method, ...]

    @property
    def repetition(self) -> str:
        """Name of the directory."""
        return f"{self.pretraining}/seed-{self.seed}"

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages, in order."""
        trained = (method for method in self.methods if method in TRAININGS)
        return *PRETRAININGS[self.pretraining], *trained


class Result(NamedTuple):
    """The scores of one method.

    Attributes:
        job: What was trained.
        method: Name of the method.
        scores: Its scores, where classes are known.
        loss: Mean loss per item in the last tenth of its training, where it is trained.
    """

    job: Job
    method: Method
    scores: Scores | None
    loss: float | None


def all_jobs(config: Config) -> list[Job]:
    """Give all repetitions of a run."""
    return [
        Job(pretraining, seed, config.methods)
        for seed in config.all_seeds
        for pretraining in config.pretrainings
    ]


def run_job(config: Config, job: Job, data: ClusterData) -> tuple[list[Result], Curves]:
    """Train or resume all stages, draw the figures, and evaluate.

    Returns:
        The scores of every method, and the learning curves of every stage.

    Raises:
        StageError: If a training diverges or a clustering fails.
    """
    task, curves = prepare(config, job, data)
    results = []
    for method in job.methods:
        loss = None
        if method in CLUSTERINGS:
            with _clustering_errors(config, method):
                clusters = CLUSTERINGS[method](task)
        else:
            training, curves[method] = train(config, job, method, task)
            losses = curves[method]["loss"]
            loss = statistics.fmean(losses[-max(1, len(losses) // 10) :])
            if isinstance(training, DRPMVCTraining) and data.has_images:
                _save_figures(config.out / job.repetition, job.seed, training, data)
            with stage_errors(method, _remedy(config, job, method)):
                clusters = predict(training.network.encoder, training.priors, data.test)
        scores = None if data.labels is None else score(data.labels, clusters)
        results.append(Result(job, method, scores, loss))
    return results, curves


def prepare(config: Config, job: Job, data: ClusterData) -> tuple[ClusteringTask, Curves]:
    """Train or resume what all methods start from: the autoencoder, and priors of the clusters.

    Returns:
        The task of all methods, and the learning curves of the pretraining.

    Raises:
        StageError: If the training diverges or the clustering fails.
    """
    network, curves = pretrain(config, job, data)
    with _clustering_errors(config, "priors"):
        means = encode(network.encoder, data.train)
        require_finite("the latent means", means)
        seed, sizes = derive_seed(job.seed, "mixture"), config.networks
        start = STARTS[config.training.priors]
        priors = start(means, sizes.num_clusters, seed, sizes.covariance)
    if config.training.widen_priors:
        priors.widen(math.exp(2 * LOG_SCALE_AFTER_PRETRAINING))
    settings = config.training, config.partition, config.scores
    return ClusteringTask(network, priors, data, means, *settings, job.seed), curves


def pretrain(config: Config, job: Job, data: ClusterData) -> tuple[Autoencoder, Curves]:
    """Train or resume the autoencoder that all methods start from.

    Returns:
        Encoder and decoder, and the learning curves.

    Raises:
        StageError: If the training diverges.
    """
    pyro.set_rng_seed(derive_seed(job.seed, "networks"))
    sizes = config.networks
    network = Autoencoder(
        data.num_values, sizes.hidden, sizes.latent_dim, sizes.likelihood, sizes.precision
    )
    if job.pretraining == "components":
        network.set_to_components(data.train)
    task = PretrainingTask(network, data, config.pretraining, sizes.num_clusters, job.seed)
    curves: Curves = {}
    for stage, make_fit in PRETRAININGS[job.pretraining].items():
        with _clustering_errors(config, stage):
            fit = make_fit(task)
        curves[stage] = _run_stage(config, job, stage, fit)
    network.reset_scales(data.train, LOG_SCALE_AFTER_PRETRAINING)
    return network, curves


def train(
    config: Config, job: Job, method: Method, task: ClusteringTask
) -> tuple[VariationalTraining, dict[str, list[float]]]:
    """Train or resume a method.

    Returns:
        What has been trained, and the learning curve.

    Raises:
        StageError: If the training diverges.
    """
    fit = TRAININGS[method](task)
    return fit.training, _run_stage(config, job, method, fit)


def _run_stage(
    config: Config, job: Job, name: str, fit: Fit[LightningModule]
) -> dict[str, list[float]]:
    remedy = _remedy(config, job, name)
    stage = job_stage(config, job, name, fit.epochs, title=job.pretraining, remedy=remedy)
    return stage.fit(fit.training, fit.batches)


@rank_zero_only
def _save_figures(directory: Path, seed: int, training: DRPMVCTraining, data: ClusterData) -> None:
    """Draw what DRPM-VC generates."""
    pyro.set_rng_seed(derive_seed(seed, "figures"))
    decoder, priors = training.network.decoder, training.priors
    size_prior, shape = training.parts[0].size_prior, data.item_shape
    num_images, cmap = min(80, len(data.train)), "gray" if data.name == "own" else "Greys"
    save_partition(
        directory / "partition.png", decoder, priors, size_prior, shape, num_images, cmap
    )
    save_samples(directory / "samples.png", decoder, priors, shape, cmap=cmap)


def _remedy(config: Config, job: Job, stage: str) -> str:
    """What to change if a training diverges."""
    remedy = f"a smaller --pretrain-learning-rate than {config.pretraining.pretrain_learning_rate}"
    # That of vade is no setting.
    if stage not in ("vade", *PRETRAININGS[job.pretraining]):
        remedy = f"a smaller --learning-rate than {config.training.learning_rate}, or {remedy},"
    return f"{remedy} may help"


def _clustering_errors(config: Config, stage: str) -> AbstractContextManager[None]:
    """Tell what to change if latent means do not fall into clusters."""
    return stage_errors(
        stage,
        f"fewer --num-clusters than {config.networks.num_clusters}, or a smaller "
        f"--pretrain-learning-rate than {config.pretraining.pretrain_learning_rate}, may help",
    )
