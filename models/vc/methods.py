# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The methods that are compared, in two tables: those that are trained, and those that are not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from pyro.infer.elbo import ELBO
from torch import Tensor, nn

from models.training.batches import ShuffledBatches
from models.training.seeds import derive_seed
from models.vc.affinities import AffinityGuide, particle_elbo
from models.vc.baselines import OwnOptimizerVaDETraining, VaDEGuide, VaDEModel
from models.vc.categorical import CategoricalVCGuide, CategoricalVCModel
from models.vc.clusters import ClusterGuide, ClusterModel
from models.vc.config import Method, PartitionSettings, ScoreSettings, TrainingSettings
from models.vc.data import ClusterData
from models.vc.evaluate import predict
from models.vc.fit import Fit
from models.vc.model import DRPMVCModel
from models.vc.networks import Autoencoder, encode
from models.vc.pretrain import make_augmentation
from models.vc.priors import ClusterPriors, assign, fit_kmeans, fit_mixture
from models.vc.scores import ScoreGuide
from models.vc.sizes import (
    BoundedSizes,
    KnownSizes,
    LearnedSizes,
    SizePrior,
    WeightedSizes,
)
from models.vc.starts import from_equal_sizes
from models.vc.train import DRPMVCTraining, GrowingBeta, VariationalTraining
from pyro_drpm.infer import ExponentialAnnealing, TracePartition_ELBO

__all__ = ["CLUSTERINGS", "TRAININGS", "ClusteringTask", "make_size_prior"]


@dataclass(frozen=True, eq=False)
class ClusteringTask:
    """What all methods start from, and how they are trained; none changes it.

    Attributes:
        network: The pretrained encoder and decoder.
        priors: Priors that were fitted to the latent means.
        data: The items.
        means: Latent means of the training images, shape ``(N, l)``.
        settings: Settings of all trainings.
        partition: Settings of DRPM-VC alone.
        scores: Settings of its guide with one score per image.
        seed: Seed of the repetition.
    """

    network: Autoencoder
    priors: ClusterPriors
    data: ClusterData
    means: Tensor
    settings: TrainingSettings
    partition: PartitionSettings
    scores: ScoreSettings
    seed: int


def pixel_mixture(task: ClusteringTask) -> Tensor:
    """Fit a Gaussian mixture to the pixels."""
    # Ten starts on all pixels would take longer than everything else.
    pixels, seed = task.data.train.flatten(1), derive_seed(task.seed, "mixture")
    mixture = fit_mixture(pixels, len(task.priors.loc), seed, num_starts=1)
    return assign(mixture, task.data.test.flatten(1))


def latent_kmeans(task: ClusteringTask) -> Tensor:
    """Cluster the latent means by k-means."""
    seed = derive_seed(task.seed, "mixture")
    clusters = fit_kmeans(task.means, len(task.priors.loc), seed)
    return assign(clusters, encode(task.network.encoder, task.data.test))


def latent_mixture(task: ClusteringTask) -> Tensor:
    """Fit a Gaussian mixture to the latent means."""
    seed = derive_seed(task.seed, "mixture")
    mixture = fit_mixture(task.means, len(task.priors.loc), seed)
    return assign(mixture, encode(task.network.encoder, task.data.test))


def latent_equal_sizes(task: ClusteringTask) -> Tensor:
    """Fit a Gaussian mixture with clusters of equal sizes to the latent means."""
    seed = derive_seed(task.seed, "mixture")
    priors = from_equal_sizes(task.means, len(task.priors.loc), seed)
    return predict(task.network.encoder, priors, task.data.test)


CLUSTERINGS: dict[Method, Callable[[ClusteringTask], Tensor]] = {
    "gmm": pixel_mixture,
    "latent-kmeans": latent_kmeans,
    "latent-gmm": latent_mixture,
    "latent-equal": latent_equal_sizes,
}
"""Methods that take the images or the pretrained encoder as they are, and give the clusters of the
test images, shape ``(M,)``."""


def vade(task: ClusteringTask) -> Fit[VariationalTraining]:
    """VaDE as its authors train it: all layers, with their optimiser."""
    network, priors = copy.deepcopy(task.network), copy.deepcopy(task.priors)
    training = OwnOptimizerVaDETraining(
        network=network,
        priors=priors,
        model=VaDEModel(network.decoder, priors),
        guide=VaDEGuide(network.encoder, priors),
        elbo=TracePartition_ELBO(),
        learning_rate=2e-3,
    )
    return _fit(task, training, task.data.train)


def frozen_vade(task: ClusteringTask) -> Fit[VariationalTraining]:
    """VaDE with its own loss, trained as DRPM-VC with frozen hidden layers is."""
    return _trained_alike(task, _heads(task), VaDEModel, VaDEGuide, TracePartition_ELBO(), beta=1.0)


def augmented_vade(task: ClusteringTask) -> Fit[VariationalTraining]:
    """VaDE trained as DRPM-VC with all layers is, on images that are changed at random."""
    layers, beta = _all_layers(task), task.settings.beta
    return _trained_alike(task, layers, VaDEModel, VaDEGuide, TracePartition_ELBO(), beta)


def categorical(task: ClusteringTask) -> Fit[VariationalTraining]:
    """DRPM-VC without its partition."""
    return _trained_alike(
        task,
        _layers(task),
        CategoricalVCModel,
        CategoricalVCGuide,
        TracePartition_ELBO(),
        task.settings.beta,
    )


def drpm_vc(task: ClusteringTask) -> Fit[VariationalTraining]:
    """DRPM-VC, with one of its guides."""
    settings, partition = task.settings, task.partition
    layers, priors = _layers(task), copy.deepcopy(task.priors)
    size_prior = make_size_prior(partition, priors, len(task.data.train))
    priors.log_weight.requires_grad_(partition.sizes_law == "weighted")
    guide: AffinityGuide | ScoreGuide
    if partition.guide == "affinities":
        guide = AffinityGuide(layers.encoder, priors, size_prior, settings.beta)
        elbo = particle_elbo(
            partition.num_particles,
            bound=partition.bound,
            gamma=partition.gamma,
            delta=partition.delta,
        )
    else:
        guide = _score_guide(task, layers.encoder, priors)
        elbo = TracePartition_ELBO(partition.bound, partition.gamma, partition.delta)
    training = DRPMVCTraining(
        network=layers.network,
        priors=priors,
        model=DRPMVCModel(
            layers.network.decoder, priors, size_prior, guide.num_partitions, settings.beta
        ),
        guide=guide,
        elbo=elbo,
        learning_rate=settings.learning_rate,
        schedule=settings.schedule,
        augment=layers.augment,
        annealing=ExponentialAnnealing(1.0, 0.5, steps=task.scores.anneal_steps),
        beta=GrowingBeta(settings.beta, partition.beta_steps),
        refit_every=partition.refit_every,
        refit_inputs=layers.inputs,
        seed=task.seed,
    )
    return _fit(task, training, layers.inputs)


def make_size_prior(
    settings: PartitionSettings, priors: ClusterPriors, num_items: int
) -> SizePrior:
    """Make the law of the sizes, of ``num_items`` in all, that the settings name."""
    if settings.sizes_law == "fixed":
        sizes = settings.sizes(num_items, len(priors.log_weight))
        return KnownSizes(priors, sizes, settings.size_spread)
    if settings.sizes_law == "bounded":
        return BoundedSizes(priors, num_items, *settings.bounds(num_items))
    return LearnedSizes(priors) if settings.sizes_law == "learned" else WeightedSizes(priors)


def _score_guide(task: ClusteringTask, encoder: nn.Module, priors: ClusterPriors) -> ScoreGuide:
    scores = task.scores
    guide = ScoreGuide(
        encoder,
        priors,
        scores.num_partitions,
        task.settings.beta,
        scores.score_scale,
        scores.sizes,
        scores.gradient,
    )
    guide.log_u.requires_grad_(scores.learn_score_scale)
    return guide


TRAININGS: dict[Method, Callable[[ClusteringTask], Fit[VariationalTraining]]] = {
    "vade": vade,
    "vade-frozen": frozen_vade,
    "vade-augmented": augmented_vade,
    "categorical": categorical,
    "drpm": drpm_vc,
}
"""Methods that train a copy of the pretrained network, in a stage of their name."""


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


def _layers(task: ClusteringTask) -> _TrainedLayers:
    return _all_layers(task) if task.settings.trained_layers == "all" else _heads(task)


def _heads(task: ClusteringTask) -> _TrainedLayers:
    """The heads of the encoder, on features of the frozen hidden layers."""
    network = copy.deepcopy(task.network)
    network.encoder.hidden.requires_grad_(False)
    features = encode(network.encoder.hidden, task.data.train)
    return _TrainedLayers(network, network.encoder.heads, features, None)


def _all_layers(task: ClusteringTask) -> _TrainedLayers:
    network, data = copy.deepcopy(task.network), task.data
    augment = make_augmentation(data.name, data.item_shape, small=True) if data.has_images else None
    return _TrainedLayers(network, network.encoder, data.train, augment)


def _trained_alike(
    task: ClusteringTask,
    layers: _TrainedLayers,
    make_model: Callable[[nn.Module, ClusterPriors, float], ClusterModel],
    make_guide: Callable[[nn.Module, ClusterPriors, float], ClusterGuide],
    elbo: ELBO,
    beta: float,
) -> Fit[VariationalTraining]:
    """Another model, trained as DRPM-VC is."""
    priors = copy.deepcopy(task.priors)
    if not task.settings.learn_weights:
        priors.log_weight.data.zero_()
        priors.log_weight.requires_grad_(False)
    training = VariationalTraining(
        network=layers.network,
        priors=priors,
        model=make_model(layers.network.decoder, priors, beta),
        guide=make_guide(layers.encoder, priors, beta),
        elbo=elbo,
        learning_rate=task.settings.learning_rate,
        schedule=task.settings.schedule,
        augment=layers.augment,
    )
    return _fit(task, training, layers.inputs)


def _fit(
    task: ClusteringTask, training: VariationalTraining, inputs: Tensor
) -> Fit[VariationalTraining]:
    """Give a training its batches: what the encoder reads, and the images."""
    batches = ShuffledBatches((inputs, task.data.train), task.settings.batch_size)
    return Fit(training, batches, task.settings.epochs)
