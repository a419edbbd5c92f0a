# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Defaults of a run of DRPM-VC: of each dataset, and of one's own data."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from models.vc.config import (
    Config,
    NetworkSettings,
    OwnDataSettings,
    PartitionSettings,
    PretrainingSettings,
    ScoreSettings,
    TrainingSettings,
)

__all__ = ["PRESETS", "own_preset"]

# The paper's prior of the sizes, its guide and its loss.
_WEIGHTED_SCORES = PartitionSettings(
    sizes_law="weighted", guide="scores", bound="lemma", delta=0.01
)


def _as_in_the_paper(config: Config) -> Config:
    return replace(
        config,
        preset="paper",
        pretrainings=("contrastive",),
        # The paper sums the errors of a batch.
        pretraining=replace(
            config.pretraining,
            reconstruction_weight=float(config.pretraining.pretrain_batch_size),
        ),
        training=replace(config.training, priors="mixture", trained_layers="heads"),
        partition=replace(_WEIGHTED_SCORES, refit_every=config.partition.refit_every),
        scores=replace(config.scores, sizes="sampled", gradient="relaxed"),
    )


_DIGITS = Config(
    out=Path("runs/vc/digits"),
    checkpoint_every=50,
    networks=NetworkSettings(hidden=(128, 128, 256)),
    pretraining=PretrainingSettings(
        pretrain_epochs=400,
        reconstruction_epochs=400,
        pretrain_batch_size=628,
        pretrain_learning_rate=2e-3,
        input_noise=0.2,
    ),
    # All training images at once: the more there are, the more their sizes say.
    training=TrainingSettings(
        priors="equal-sizes", epochs=300, batch_size=1257, learning_rate=1e-3
    ),
    partition=PartitionSettings(size_spread=0.05),
    scores=ScoreSettings(anneal_steps=300),
)
_DIGITS_PAPER = replace(
    _DIGITS, training=replace(_DIGITS.training, epochs=60, batch_size=256), checkpoint_every=10
)
_MNIST = Config(
    dataset="mnist",
    out=Path("runs/vc/mnist"),
    pretrainings=("neighbors",),
    pretraining=PretrainingSettings(reconstruction_weight=0.3),
    training=TrainingSettings(priors="k-means", beta=10.0, schedule="cosine"),
    networks=NetworkSettings(precision="bfloat16"),
    partition=_WEIGHTED_SCORES,
)
_FASHION = Config(
    dataset="fashion-mnist",
    out=Path("runs/vc/fashion-mnist"),
    pretrainings=("spectral",),
    networks=NetworkSettings(latent_dim=20, precision="bfloat16"),
    pretraining=PretrainingSettings(
        num_neighbors=20, resemblance="gradients", reconstruction_weight=0.3
    ),
    # Large batches, whose sizes say something. At five times the learning rate clusters merge.
    training=TrainingSettings(
        priors="equal-sizes",
        widen_priors=True,
        batch_size=2000,
        schedule="cosine",
        beta=10.0,
    ),
)
_MNIST_PAPER = replace(_MNIST, training=TrainingSettings(epochs=1024))
_FASHION_PAPER = replace(
    _FASHION,
    training=TrainingSettings(epochs=1024, beta=0.1),
    partition=replace(_WEIGHTED_SCORES, refit_every=10),
)

PRESETS: dict[str, Config] = {
    "digits": _DIGITS,
    "mnist": _MNIST,
    "fashion-mnist": _FASHION,
    "digits-paper": _as_in_the_paper(_DIGITS_PAPER),
    "mnist-paper": _as_in_the_paper(_MNIST_PAPER),
    "fashion-mnist-paper": _as_in_the_paper(_FASHION_PAPER),
}
"""Defaults of every dataset, and the paper's settings for it."""

# Rows that are taken at once: the more there are, the more their sizes say, at a cost that grows.
_MOST_AT_ONCE = 2000


def own_preset(
    item_shape: tuple[int, ...], number: int, num_clusters: int, *, is_pixels: bool = False
) -> Config:
    """Give the defaults for data of one's own.

    Features have linear networks, from at most ten principal components, and clusters with full
    covariances where each has at least twice as many items as its mean and covariance have numbers.
    Images have hidden layers, which are pretrained by contrast of images with changed ones, of five
    thousand images on with neighbors.

    Args:
        item_shape: ``(C, H, W)`` of images or ``(D,)`` of features.
        number: Number of items.
        num_clusters: Number of clusters.
        is_pixels: Whether values are grey values or colours from 0 to 1.
    """
    if len(item_shape) == 1:
        config = _for_features(item_shape[0], number, num_clusters)
    else:
        config = _for_images(math.prod(item_shape), number)
    networks = replace(
        config.networks,
        num_clusters=num_clusters,
        likelihood="pixels" if is_pixels else "normal",
    )
    return replace(
        config,
        dataset="own",
        out=Path("runs/vc/own"),
        own=OwnDataSettings(),
        methods=("drpm",),
        networks=networks,
        partition=PartitionSettings(sizes_law="learned"),
    )


def _for_features(num_columns: int, number: int, num_clusters: int) -> Config:
    latent_dim = min(num_columns, number, 10)
    twice_the_numbers = latent_dim * (latent_dim + 3)
    is_full = number / num_clusters >= twice_the_numbers
    return Config(
        out=Path(),
        pretrainings=("components",),
        networks=NetworkSettings(
            hidden=(), latent_dim=latent_dim, covariance="full" if is_full else "diagonal"
        ),
        # Faster, linear networks lose what the start has found.
        training=_own_training(number, 200, 3e-4),
        checkpoint_every=50,
    )


def _for_images(num_values: int, number: int) -> Config:
    is_small, is_many = num_values <= 256, number >= 5000
    return Config(
        out=Path(),
        pretrainings=("neighbors" if is_many else "contrastive",),
        networks=NetworkSettings(
            hidden=(128, 128, 256) if is_small else (500, 500, 2000),
            precision="bfloat16" if is_many else "float32",
        ),
        pretraining=PretrainingSettings(
            pretrain_epochs=400 if is_small else 200,
            pretrain_batch_size=min(1024, -(-number // 2)),
            pretrain_learning_rate=2e-3 if is_small else 1e-3,
            input_noise=0.2 if is_small else 0.0,
            reconstruction_weight=0.3 if is_many else 1.0,
        ),
        training=_own_training(number, 200, 1e-3),
        checkpoint_every=10,
    )


def _own_training(number: int, num_steps: int, learning_rate: float) -> TrainingSettings:
    """As many epochs as the steps take."""
    batch_size = min(number, _MOST_AT_ONCE)
    epochs = -(-num_steps * batch_size // number)
    return TrainingSettings(
        epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, schedule="cosine"
    )
