# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""One repetition of the experiment: pretraining, baselines, DRPM-VC, all from the same weights."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache, partial
from typing import Any, NamedTuple

import pyro
import torch
from lightning.fabric.utilities import rank_zero_only
from lightning.pytorch import LightningModule
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from pyro.infer.elbo import ELBO
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn

from models.data import ImageData, load_images
from models.runs.curves import Curves
from models.training.batches import Batches, ShuffledBatches
from models.training.failures import require_finite, stage_errors
from models.training.seeds import derive_seed
from models.training.stages import Stage
from models.vc.baselines import OwnOptimizerVaDETraining, VaDEGuide, VaDEModel
from models.vc.categorical import CategoricalVCGuide, CategoricalVCModel
from models.vc.clusters import ClusterGuide, ClusterModel
from models.vc.config import Config, Method, Pretraining
from models.vc.evaluate import Scores, predict, score
from models.vc.figures import save_partition, save_samples
from models.vc.information import InformationTraining
from models.vc.model import DRPMVCGuide, DRPMVCModel
from models.vc.neighbors import NeighborPretraining, nearest_neighbors
from models.vc.networks import Autoencoder, encode
from models.vc.pretrain import (
    ContrastivePretraining,
    ReconstructionPretraining,
    make_augmentation,
)
from models.vc.priors import ClusterPriors, assign, fit_kmeans, fit_mixture
from models.vc.train import DRPMVCTraining, VariationalTraining
from pyro_drpm.infer import ExponentialAnnealing, TracePartition_ELBO

__all__ = ["PRETRAINING_STAGES", "Experiment", "Job", "Result", "all_jobs", "run_job"]

PRETRAINING_STAGES: dict[Pretraining, tuple[str, ...]] = {
    "contrastive": ("pretrain",),
    "neighbors": ("pretrain", "pretrain-clusters"),
    "reconstruction": ("pretrain",),
}
"""Names of the stages that all others start from."""
_TRAINED: tuple[Method, ...] = ("vade", "vade-frozen", "vade-augmented", "categorical", "drpm")
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
        trained = (method for method in self.methods if method in _TRAINED)
        return *PRETRAINING_STAGES[self.pretraining], *trained


class Result(NamedTuple):
    """The scores of one method.

    Attributes:
        job: What was trained.
        method: Name of the method.
        scores: Its scores.
    """

    job: Job
    method: Method
    scores: Scores


def all_jobs(config: Config) -> list[Job]:
    """Give all repetitions of a run."""
    return [
        Job(pretraining, seed, config.methods)
        for seed in config.all_seeds
        for pretraining in config.pretrainings
    ]


def run_job(config: Config, job: Job) -> tuple[list[Result], Curves]:
    """Train or resume all stages, draw the figures, and evaluate.

    Returns:
        The scores of every method, and the learning curves of every stage.

    Raises:
        StageError: If a training diverges or a clustering fails.
    """
    data = load_images(config.dataset, config.data_dir, config.evaluate_on)
    experiment = Experiment(config, data, job)
    scores = experiment.run()
    return [Result(job, method, scores[method]) for method in job.methods], experiment.curves


class _TrainedLayers(NamedTuple):
    """What is trained of a network, and on what.

    Attributes:
        network: Encoder and decoder, a copy of the pretrained ones.
        encoder: The part of the encoder that is trained.
        inputs: What it reads of all training images.
        augment: Random changes of the images, if it reads them.
    """

    network: Autoencoder
    encoder: nn.Module
    inputs: Tensor
    augment: nn.Module | None


class Experiment:
    """Trains all methods for one pretraining and one seed.

    Args:
        config: Settings of the run.
        data: The images.
        job: What to train.
    """

    def __init__(self, config: Config, data: ImageData, job: Job) -> None:
        self.config = config
        self.data = data
        self.job = job
        self.directory = config.out / job.repetition
        self.curves: Curves = {}

    def run(self) -> dict[Method, Scores]:
        """Train or resume, save the figures and give the scores of every method."""
        network = self.pretrain()
        priors = self._priors(network)
        clusters = {m: self._clusters(m, network, priors) for m in self.job.methods}
        return {m: score(self.data.test_labels, found) for m, found in clusters.items()}

    def _clusters(self, method: Method, pretrained: Autoencoder, priors: ClusterPriors) -> Tensor:
        """Clusters of the test images by a method."""
        test = self.data.test_images
        if method == "gmm":
            # Ten starts on all pixels would take longer than everything else.
            of_pixels = self._fit_mixture(self.data.train_images.flatten(1), num_starts=1)
            return assign(of_pixels, test.flatten(1))
        if method in ("latent-kmeans", "latent-gmm"):
            fit = self._fit_kmeans if method == "latent-kmeans" else self._fit_mixture
            with self._clustering_errors(method):
                clusters = fit(self._latent_means(pretrained))
            return assign(clusters, encode(pretrained.encoder, test))
        train = {
            "vade": self.train_vade,
            "vade-frozen": self.train_frozen_vade,
            "vade-augmented": self.train_augmented_vade,
            "categorical": self.train_categorical,
            "drpm": self.train_drpm_vc,
        }
        training = train[method](pretrained, priors)
        if method == "drpm":
            self.save_figures(training)
        with stage_errors(method, self._remedy(method)):
            return predict(training.network.encoder, training.priors, test)

    def pretrain(self) -> Autoencoder:
        """Train the autoencoder that all other methods start from."""
        pyro.set_rng_seed(derive_seed(self.job.seed, "networks"))
        num_pixels = self.data.train_images[0].numel()
        network = Autoencoder(num_pixels, self.config.hidden, self.config.latent_dim)
        train = {
            "contrastive": self._pretrain_contrastive,
            "neighbors": self._pretrain_neighbors,
            "reconstruction": self._pretrain_reconstruction,
        }
        train[self.job.pretraining](network)
        network.encoder.heads.reset_scale(LOG_SCALE_AFTER_PRETRAINING)
        return network

    def _pretrain_contrastive(self, network: Autoencoder) -> None:
        config = self.config
        training = ContrastivePretraining(
            network,
            make_augmentation(config.dataset, self.data.train_images.shape[-1]),
            config.num_clusters,
            config.pretrain_learning_rate,
            config.reconstruction_weight,
            config.input_noise,
        )
        self._fit("pretrain", training, self._pretraining_batches(), config.pretrain_epochs)

    def _pretrain_reconstruction(self, network: Autoencoder) -> None:
        training = ReconstructionPretraining(network, self.config.pretrain_learning_rate)
        epochs = self.config.reconstruction_epochs
        self._fit("pretrain", training, self._pretraining_batches(), epochs)

    def _pretraining_batches(self) -> ShuffledBatches:
        batch_size = self.config.pretrain_batch_size
        return ShuffledBatches((self.data.train_images,), batch_size, drop_last=True)

    def _pretrain_neighbors(self, network: Autoencoder) -> None:
        config, images = self.config, self.data.train_images
        settings: dict[str, Any] = {
            "network": network,
            "images": images,
            "find_neighbors": cache(partial(nearest_neighbors, images, config.num_neighbors)),
            "augment": self._small_augmentation(),
            "learning_rate": config.pretrain_learning_rate,
            "reconstruction_weight": config.reconstruction_weight,
        }
        indices = (torch.arange(len(images)),)
        batches = ShuffledBatches(indices, config.neighbor_batch_size, drop_last=True)
        embedding = NeighborPretraining(**settings)
        self._fit("pretrain", embedding, batches, config.neighbor_epochs)
        seed = derive_seed(self.job.seed, "clusters")
        with self._clustering_errors("pretrain-clusters"):
            clusters = InformationTraining(num_clusters=config.num_clusters, seed=seed, **settings)
        self._fit("pretrain-clusters", clusters, batches, config.cluster_epochs)

    def train_vade(self, pretrained: Autoencoder, priors: ClusterPriors) -> VariationalTraining:
        """Train VaDE as its authors do: all layers, with their optimiser."""
        network, priors = copy.deepcopy(pretrained), copy.deepcopy(priors)
        training = OwnOptimizerVaDETraining(
            network=network,
            priors=priors,
            model=VaDEModel(network.decoder, priors),
            guide=VaDEGuide(network.encoder, priors),
            elbo=Trace_ELBO(),
            learning_rate=2e-3,
        )
        images = self.data.train_images
        self._fit_clusters("vade", training, images, images)
        return training

    def train_frozen_vade(
        self, pretrained: Autoencoder, priors: ClusterPriors
    ) -> VariationalTraining:
        """Train VaDE with its own loss as DRPM-VC with frozen hidden layers is trained."""
        layers = self._heads(pretrained)
        return self._train_alike("vade-frozen", layers, priors, VaDEModel, VaDEGuide, Trace_ELBO())

    def train_augmented_vade(
        self, pretrained: Autoencoder, priors: ClusterPriors
    ) -> VariationalTraining:
        """Train VaDE as DRPM-VC with all layers is, on images that are changed at random."""
        return self._train_alike(
            "vade-augmented",
            self._all_layers(pretrained),
            priors,
            VaDEModel,
            VaDEGuide,
            Trace_ELBO(),
            self.config.beta,
        )

    def train_categorical(
        self, pretrained: Autoencoder, priors: ClusterPriors
    ) -> VariationalTraining:
        """Train DRPM-VC without its partition."""
        return self._train_alike(
            "categorical",
            self._layers(pretrained),
            priors,
            CategoricalVCModel,
            CategoricalVCGuide,
            TraceMeanField_ELBO(),
            self.config.beta,
        )

    def _train_alike(
        self,
        stage: str,
        layers: _TrainedLayers,
        priors: ClusterPriors,
        make_model: Callable[[nn.Module, ClusterPriors, float], ClusterModel],
        make_guide: Callable[[nn.Module, ClusterPriors, float], ClusterGuide],
        elbo: ELBO,
        beta: float = 1.0,
    ) -> VariationalTraining:
        """Train as DRPM-VC is trained."""
        priors = copy.deepcopy(priors)
        training = VariationalTraining(
            network=layers.network,
            priors=priors,
            model=make_model(layers.network.decoder, priors, beta),
            guide=make_guide(layers.encoder, priors, beta),
            elbo=elbo,
            learning_rate=self.config.learning_rate,
            schedule=self.config.schedule,
            augment=layers.augment,
        )
        self._fit_clusters(stage, training, layers.inputs, self.data.train_images)
        return training

    def train_drpm_vc(self, pretrained: Autoencoder, priors: ClusterPriors) -> DRPMVCTraining:
        """Train DRPM-VC."""
        config = self.config
        layers, priors = self._layers(pretrained), copy.deepcopy(priors)
        network = layers.network
        guide = DRPMVCGuide(
            layers.encoder,
            priors,
            config.num_partitions,
            config.beta,
            config.score_scale,
            config.sizes,
            config.gradient,
        )
        guide.log_u.requires_grad_(config.learn_score_scale)
        training = DRPMVCTraining(
            network=network,
            priors=priors,
            model=DRPMVCModel(network.decoder, priors, config.num_partitions, config.beta),
            guide=guide,
            elbo=TracePartition_ELBO(config.bound, gamma=config.gamma, delta=config.delta),
            learning_rate=config.learning_rate,
            schedule=config.schedule,
            augment=layers.augment,
            annealing=ExponentialAnnealing(1.0, 0.5, steps=config.anneal_steps),
            beta=self._beta,
            refit_every=config.refit_every,
            refit_inputs=layers.inputs,
            seed=self.job.seed,
        )
        self._fit_clusters("drpm", training, layers.inputs, self.data.train_images)
        return training

    def _layers(self, pretrained: Autoencoder) -> _TrainedLayers:
        all_layers = self.config.trained_layers == "all"
        return self._all_layers(pretrained) if all_layers else self._heads(pretrained)

    def _heads(self, pretrained: Autoencoder) -> _TrainedLayers:
        """The heads of the encoder, on features of the frozen hidden layers."""
        network = copy.deepcopy(pretrained)
        network.encoder.hidden.requires_grad_(False)
        features = encode(network.encoder.hidden, self.data.train_images)
        return _TrainedLayers(network, network.encoder.heads, features, None)

    def _all_layers(self, pretrained: Autoencoder) -> _TrainedLayers:
        network = copy.deepcopy(pretrained)
        images = self.data.train_images
        return _TrainedLayers(network, network.encoder, images, self._small_augmentation())

    def _beta(self, step: int) -> float:
        steps = self.config.beta_steps
        share = 1.0 if step >= steps else 0.1 + 0.9 * step / steps
        return self.config.beta * share

    def _small_augmentation(self) -> nn.Module:
        size = self.data.train_images.shape[-1]
        return make_augmentation(self.config.dataset, size, small=True)

    @rank_zero_only
    def save_figures(self, training: VariationalTraining) -> None:
        """Draw what DRPM-VC generates."""
        pyro.set_rng_seed(derive_seed(self.job.seed, "figures"))
        decoder, priors = training.network.decoder, training.priors
        shape = self.data.train_images.shape[-2:]
        save_partition(self.directory / "partition.png", decoder, priors, shape)
        save_samples(self.directory / "samples.png", decoder, priors, shape)

    def _fit_clusters(
        self, stage: str, training: VariationalTraining, inputs: Tensor, images: Tensor
    ) -> None:
        batches = ShuffledBatches((inputs, images), self.config.batch_size)
        self._fit(stage, training, batches, self.config.epochs)

    def _fit(self, name: str, training: LightningModule, batches: Batches, epochs: int) -> None:
        config = self.config
        stage = Stage(
            name,
            self.directory,
            self.job.seed,
            epochs,
            config.checkpoint_every,
            config.hardware,
            title=self.job.pretraining,
            remedy=self._remedy(name),
        )
        self.curves[name] = stage.fit(training, batches)

    def _remedy(self, stage: str) -> str:
        """What to change if a training diverges."""
        config = self.config
        remedy = f"a smaller --pretrain-learning-rate than {config.pretrain_learning_rate}"
        # That of vade is no setting.
        if stage not in ("vade", *PRETRAINING_STAGES[self.job.pretraining]):
            remedy = f"a smaller --learning-rate than {config.learning_rate}, or {remedy},"
        return f"{remedy} may help"

    def _clustering_errors(self, stage: str) -> AbstractContextManager[None]:
        """Tell what to change if latent means do not fall into clusters."""
        config = self.config
        return stage_errors(
            stage,
            f"fewer --num-clusters than {config.num_clusters}, or a smaller "
            f"--pretrain-learning-rate than {config.pretrain_learning_rate}, may help",
        )

    def _latent_means(self, network: Autoencoder) -> Tensor:
        """Latent means of the training images."""
        means = encode(network.encoder, self.data.train_images)
        require_finite("the latent means", means)
        return means

    def _priors(self, pretrained: Autoencoder) -> ClusterPriors:
        """Priors that all methods start from, fitted to the latent means of the encoder."""
        config = self.config
        priors = ClusterPriors(config.num_clusters, config.latent_dim)
        with self._clustering_errors("priors"):
            points = self._latent_means(pretrained)
            if config.priors == "mixture":
                priors.copy_from(self._fit_mixture(points))
            else:
                priors.fit_to(points, assign(self._fit_kmeans(points), points))
        return priors

    def _fit_kmeans(self, points: Tensor) -> KMeans:
        return fit_kmeans(points, self.config.num_clusters, derive_seed(self.job.seed, "mixture"))

    def _fit_mixture(self, points: Tensor, num_starts: int = 10) -> GaussianMixture:
        seed = derive_seed(self.job.seed, "mixture")
        return fit_mixture(points, self.config.num_clusters, seed, num_starts)
