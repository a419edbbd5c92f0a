# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Settings of a run of DRPM-VC, with the defaults of each dataset."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from models.data import DatasetName
from models.settings import RunSettings
from models.vc.model import Gradient, Sizes

__all__ = ["PRESETS", "Config"]


@dataclass(frozen=True)
class Config(RunSettings):
    """Train DRPM-VC and its baselines, and compare how well they cluster the test images.

    Defaults depend on the dataset: "--dataset mnist --help" shows those of MNIST.
    """

    dataset: DatasetName = "digits"
    """Images to cluster: those that come with scikit-learn, MNIST, or Fashion-MNIST."""
    data_dir: Path | None = None
    """Directory of the files of (Fashion-)MNIST; downloaded if not given."""

    pretraining: Literal["contrastive", "reconstruction"] = "contrastive"
    """How the autoencoder is pretrained."""
    pretrain_epochs: int = 200
    """Epochs of the pretraining."""
    pretrain_batch_size: int = 1024
    """Batch size of the pretraining."""
    pretrain_learning_rate: float = 1e-3
    """Learning rate of the pretraining (Adam)."""
    reconstruction_weight: float = 1.0
    """Weight of the mean squared error of a batch in contrastive pretraining."""
    input_noise: float = 0.0
    """Noise on the pixels in contrastive pretraining, as a standard deviation."""

    epochs: int = 1024
    """Epochs of DRPM-VC and of both VaDEs."""
    batch_size: int = 256
    """Batch size of DRPM-VC and of both VaDEs."""
    learning_rate: float = 1e-4
    """Learning rate of DRPM-VC and of VaDE with frozen layers (AdamW)."""
    num_clusters: int = 10
    """Number of clusters."""
    num_partitions: int = 100
    """Partitions sampled per step."""
    sizes: Sizes = "nearest"
    """Sizes of the guide's subsets: numbers of the images nearest to each cluster; without noise,
    as in the published code; or sampled, as in the paper."""
    gradient: Gradient = "flow"
    """Gradient of the sampled partitions: fast, or of the paper's relaxation."""
    bound: Literal["lemma", "tight", "exact"] = "lemma"
    """Terms of the partition in the loss: a bound of Lemma 4.2, or the exact log-mass."""
    beta: float = 1.0
    """Weight of the divergence of the latent variables."""
    gamma: float = 1.0
    """Weight of the subset sizes."""
    delta: float = 0.01
    """Weight of the assignment given the sizes."""
    anneal_steps: int = 100_000
    """Steps in which the temperature of the relaxation falls from 1 to 0.5."""
    refit_every: int = 0
    """Epochs after which the priors start anew from a Gaussian mixture; 0 for never."""

    hidden: tuple[int, ...] = (500, 500, 2000)
    """Widths of the encoder's hidden layers."""
    latent_dim: int = 10
    """Dimension of the latent space."""

    def validate(self) -> None:
        super().validate()
        self.require_positive(
            *("pretrain_epochs", "pretrain_batch_size", "pretrain_learning_rate", "epochs"),
            *("batch_size", "learning_rate", "num_clusters", "num_partitions", "anneal_steps"),
            "latent_dim",
        )
        self.require_non_negative(
            *("reconstruction_weight", "input_noise", "beta", "gamma", "delta", "refit_every")
        )
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"hidden must hold positive widths, but is {self.hidden}")


_MNIST = Config(dataset="mnist", out=Path("runs/vc/mnist"))

PRESETS: dict[str, Config] = {
    "digits": Config(
        out=Path("runs/vc/digits"),
        pretrain_epochs=400,
        pretrain_batch_size=628,
        pretrain_learning_rate=2e-3,
        input_noise=0.2,
        epochs=60,
        learning_rate=1e-3,
        anneal_steps=300,
        hidden=(128, 128, 256),
        checkpoint_every=10,
    ),
    "mnist": _MNIST,
    "fashion-mnist": dataclasses.replace(
        _MNIST,
        dataset="fashion-mnist",
        out=Path("runs/vc/fashion-mnist"),
        latent_dim=20,
        beta=0.1,
        refit_every=10,
    ),
}
"""Defaults of every dataset; those of MNIST and Fashion-MNIST are the paper's, but for the sizes,
the gradient and the weight of the reconstruction."""
