# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""One repetition of the experiment: pretraining, baselines, DRPM-VC, all from the same weights."""

from __future__ import annotations

import copy

import pyro
from lightning.fabric.utilities import rank_zero_only
from lightning.pytorch import LightningModule
from pyro.infer import Trace_ELBO
from sklearn.mixture import GaussianMixture
from torch import Tensor

from models.curves import Curves, draw_curves, write_curves
from models.data import ImageData
from models.stages import Batches, ShuffledBatches, Stage, derive_seed
from models.vc.baselines import (
    OwnOptimizerVaDETraining,
    VaDEGuide,
    VaDEModel,
)
from models.vc.config import Config
from models.vc.directory import seed_directory
from models.vc.evaluate import Scores, predict, score
from models.vc.figures import save_partition, save_samples
from models.vc.model import DRPMVCGuide, DRPMVCModel
from models.vc.networks import Autoencoder, encode
from models.vc.pretrain import (
    ContrastivePretraining,
    ReconstructionPretraining,
    make_augmentation,
)
from models.vc.priors import ClusterPriors, assign, fit_mixture
from models.vc.train import DRPMVCTraining, VariationalTraining
from pyro_drpm.infer import ExponentialAnnealing, TracePartition_ELBO

__all__ = ["Experiment"]

LOG_SCALE_AFTER_PRETRAINING = -2.0


class Experiment:
    """Trains all methods for one seed.

    Args:
        config: Settings of the run.
        data: The images.
        seed: Seed of this repetition.
    """

    def __init__(self, config: Config, data: ImageData, seed: int) -> None:
        self.config = config
        self.data = data
        self.seed = seed
        self.directory = seed_directory(config, seed)
        self.curves: Curves = {}

    def run(self) -> dict[str, Scores]:
        """Train or resume, save the figures and give the scores of every method on the test set."""
        train, test, labels = self.data.train_images, self.data.test_images, self.data.test_labels
        network = self.pretrain()
        # Ten starts on all pixels would take longer than everything else.
        pixel_mixture = self._fit_mixture(train.flatten(1), num_starts=1)
        mixture = self._fit_mixture(encode(network.encoder, train))
        clusters = {
            "GMM": assign(pixel_mixture, test.flatten(1)),
            "latent GMM": assign(mixture, encode(network.encoder, test)),
        }
        trainings: dict[str, VariationalTraining] = {
            "VaDE": self.train_vade(network, mixture),
            "VaDE (frozen)": self.train_frozen_vade(network, mixture),
            "DRPM-VC": self.train_drpm_vc(network, mixture),
        }
        for method, training in trainings.items():
            clusters[method] = predict(training.network.encoder, training.priors, test)
        self.save_figures(trainings["DRPM-VC"])
        return {method: score(labels, found) for method, found in clusters.items()}

    def pretrain(self) -> Autoencoder:
        """Train the autoencoder that all other methods start from."""
        config = self.config
        pyro.set_rng_seed(derive_seed(self.seed, "networks"))
        height, width = self.data.train_images.shape[-2:]
        network = Autoencoder(height * width, config.hidden, config.latent_dim)
        training = (
            ContrastivePretraining(
                network,
                make_augmentation(config.dataset, height),
                config.num_clusters,
                config.pretrain_learning_rate,
                config.reconstruction_weight,
                config.input_noise,
            )
            if config.pretraining == "contrastive"
            else ReconstructionPretraining(network, config.pretrain_learning_rate)
        )
        images = self.data.train_images
        batches = ShuffledBatches((images,), config.pretrain_batch_size, drop_last=True)
        self._fit("pretrain", training, batches, config.pretrain_epochs)
        network.encoder.heads.reset_scale(LOG_SCALE_AFTER_PRETRAINING)
        return network

    def train_vade(self, pretrained: Autoencoder, mixture: GaussianMixture) -> VariationalTraining:
        """Train VaDE as its authors do: all layers, with their optimiser."""
        network, priors = copy.deepcopy(pretrained), self._priors(mixture)
        training = OwnOptimizerVaDETraining(
            network=network,
            priors=priors,
            model=VaDEModel(network.decoder, priors),
            guide=VaDEGuide(network.encoder),
            elbo=Trace_ELBO(),
            learning_rate=2e-3,
        )
        images = self.data.train_images
        self._fit_clusters("vade", training, images, images)
        return training

    def train_frozen_vade(
        self, pretrained: Autoencoder, mixture: GaussianMixture
    ) -> VariationalTraining:
        """Train VaDE as DRPM-VC is trained: hidden layers of the encoder frozen, AdamW."""
        network, priors = _frozen_copy(pretrained), self._priors(mixture)
        training = VariationalTraining(
            network=network,
            priors=priors,
            model=VaDEModel(network.decoder, priors),
            guide=VaDEGuide(network.encoder.heads),
            elbo=Trace_ELBO(),
            learning_rate=self.config.learning_rate,
        )
        images = self.data.train_images
        features = encode(network.encoder.hidden, images)
        self._fit_clusters("vade-frozen", training, features, images)
        return training

    def train_drpm_vc(self, pretrained: Autoencoder, mixture: GaussianMixture) -> DRPMVCTraining:
        """Train DRPM-VC, hidden layers of the encoder frozen."""
        config = self.config
        network, priors = _frozen_copy(pretrained), self._priors(mixture)
        images = self.data.train_images
        features = encode(network.encoder.hidden, images)
        training = DRPMVCTraining(
            network=network,
            priors=priors,
            model=DRPMVCModel(network.decoder, priors, config.num_partitions, config.beta),
            guide=DRPMVCGuide(
                network.encoder.heads,
                priors,
                config.num_partitions,
                config.beta,
                sizes=config.sizes,
                gradient=config.gradient,
            ),
            elbo=TracePartition_ELBO(config.bound, gamma=config.gamma, delta=config.delta),
            learning_rate=config.learning_rate,
            annealing=ExponentialAnnealing(1.0, 0.5, steps=config.anneal_steps),
            refit_every=config.refit_every,
            refit_inputs=features,
            seed=self.seed,
        )
        self._fit_clusters("drpm", training, features, images)
        return training

    @rank_zero_only
    def save_figures(self, training: VariationalTraining) -> None:
        """Draw what DRPM-VC generates, and the learning curves of all stages."""
        figures = self.directory / "figures"
        figures.mkdir(exist_ok=True)
        pyro.set_rng_seed(derive_seed(self.seed, "figures"))
        decoder, priors = training.network.decoder, training.priors
        shape = self.data.test_images.shape[-2:]
        save_partition(figures / "partition.png", decoder, priors, shape)
        save_samples(figures / "samples.png", decoder, priors, shape)
        draw_curves(figures / "curves.png", self.curves)
        write_curves(self.directory / "curves.csv", self.curves)

    def _fit_clusters(
        self, stage: str, training: VariationalTraining, inputs: Tensor, images: Tensor
    ) -> None:
        batches = ShuffledBatches((inputs, images), self.config.batch_size)
        self._fit(stage, training, batches, self.config.epochs)

    def _fit(self, name: str, training: LightningModule, batches: Batches, epochs: int) -> None:
        config = self.config
        stage = Stage(
            name, self.directory, self.seed, epochs, config.checkpoint_every, config.hardware
        )
        self.curves[name] = stage.fit(training, batches)

    def _priors(self, mixture: GaussianMixture) -> ClusterPriors:
        priors = ClusterPriors(self.config.num_clusters, self.config.latent_dim)
        priors.copy_from(mixture)
        return priors

    def _fit_mixture(self, points: Tensor, num_starts: int = 10) -> GaussianMixture:
        seed = derive_seed(self.seed, "mixture")
        return fit_mixture(points, self.config.num_clusters, seed, num_starts)


def _frozen_copy(pretrained: Autoencoder) -> Autoencoder:
    network = copy.deepcopy(pretrained)
    network.encoder.hidden.requires_grad_(False)
    return network
