# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The stages that every method starts from, in a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from models.training.batches import ShuffledBatches
from models.training.seeds import derive_seed
from models.vc.config import Pretraining, PretrainingSettings
from models.vc.data import ClusterData
from models.vc.embedding import NeighborPretraining
from models.vc.fit import Fit
from models.vc.information import InformationTraining
from models.vc.neighbors import nearest_neighbors
from models.vc.networks import Autoencoder
from models.vc.pretrain import (
    ContrastivePretraining,
    ReconstructionPretraining,
    make_augmentation,
)
from models.vc.spectral import SpectralPretraining

__all__ = ["PRETRAININGS", "PretrainingTask"]


@dataclass(frozen=True, eq=False)
class PretrainingTask:
    """What is pretrained, and how.

    Attributes:
        network: Encoder and decoder, trained in place.
        data: The items.
        settings: Settings of the pretraining.
        num_clusters: Number of clusters.
        seed: Seed of the repetition.
    """

    network: Autoencoder
    data: ClusterData
    settings: PretrainingSettings
    num_clusters: int
    seed: int

    @cached_property
    def neighbors(self) -> Tensor:
        """Neighbors of the training images, found once for all stages that need them."""
        settings = self.settings
        return nearest_neighbors(
            self.data.train, settings.num_neighbors, resemblance=settings.resemblance
        )


def contrastive(task: PretrainingTask) -> Fit[LightningModule]:
    """Contrast images and clusters, as in the paper."""
    settings, data = task.settings, task.data
    training = ContrastivePretraining(
        task.network,
        make_augmentation(data.name, data.item_shape),
        task.num_clusters,
        settings.pretrain_learning_rate,
        settings.reconstruction_weight,
        settings.input_noise,
    )
    return Fit(training, _image_batches(task), settings.pretrain_epochs)


def reconstruction(task: PretrainingTask) -> Fit[LightningModule]:
    """Reconstruct the images, and nothing else."""
    training = ReconstructionPretraining(task.network, task.settings.pretrain_learning_rate)
    return Fit(training, _image_batches(task), task.settings.reconstruction_epochs)


def near_neighbors(task: PretrainingTask) -> Fit[LightningModule]:
    """Draw images to their neighbors."""
    training = NeighborPretraining(**_embedding(task))
    return Fit(training, _index_batches(task), task.settings.neighbor_epochs)


def most_information(task: PretrainingTask) -> Fit[LightningModule]:
    """Make clusters, from those of k-means."""
    seed = derive_seed(task.seed, "clusters")
    training = InformationTraining(num_clusters=task.num_clusters, seed=seed, **_embedding(task))
    return Fit(training, _index_batches(task), task.settings.cluster_epochs)


def spectral(task: PretrainingTask) -> Fit[LightningModule]:
    """Learn the spectral coordinates of the images."""
    training = SpectralPretraining(**_embedding(task))
    return Fit(training, _index_batches(task), task.settings.spectral_epochs)


PRETRAININGS: dict[Pretraining, dict[str, Callable[[PretrainingTask], Fit[LightningModule]]]] = {
    "contrastive": {"pretrain": contrastive},
    "neighbors": {"pretrain": near_neighbors, "pretrain-clusters": most_information},
    "spectral": {"pretrain": spectral},
    "reconstruction": {"pretrain": reconstruction},
    "components": {},
}
"""Stages of every pretraining by their names, in order; each goes on with the network that the one
before has trained. Principal components are found without any."""


def _embedding(task: PretrainingTask) -> dict[str, Any]:
    """Arguments that all stages with neighbors have in common."""
    return {
        "network": task.network,
        "images": task.data.train,
        "find_neighbors": lambda: task.neighbors,
        "augment": make_augmentation(task.data.name, task.data.item_shape, small=True),
        "learning_rate": task.settings.pretrain_learning_rate,
        "reconstruction_weight": task.settings.reconstruction_weight,
    }


def _image_batches(task: PretrainingTask) -> ShuffledBatches:
    batch_size = task.settings.pretrain_batch_size
    return ShuffledBatches((task.data.train,), batch_size, drop_last=True)


def _index_batches(task: PretrainingTask) -> ShuffledBatches:
    indices = torch.arange(len(task.data.train))
    return ShuffledBatches((indices,), task.settings.neighbor_batch_size, drop_last=True)
