# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Settings of a run of DRPM-VAE, with the defaults of each dataset."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from models.data import SharedFactors
from models.runs.jobs import JobSettings
from models.training.schedule import Schedule
from models.vae.pair_normal import SharedLatents
from models.vae.posteriors import Average
from models.vae.sharing import Method, PriorScores, SizeInputs, Sizes
from pyro_drpm.types import Bound, Gradient

__all__ = ["PRESETS", "Config", "Dataset", "own_preset"]

Dataset = Literal["scene", "mpi3d", "dsprites", "own"]

_OWN_STEPS = 6000


@dataclass(frozen=True)
class Config(JobSettings):
    """Train DRPM-VAE and its baselines on pairs of images that share some of their factors.

    Defaults depend on the data and the dataset: "--data FILE --help" shows those for pairs of your
    own, "--dataset mpi3d --help" those of mpi3d.
    """

    data: tuple[Path, ...] = ()
    """Your own pairs: a file (.npz, .npy) with images of shape (N, 2, C, H, W), or two folders with
    images of the same names."""
    array: str | None = None
    """Name of the array in an .npz file, if it holds several."""
    factors: str | None = None
    """Array of the .npz file with the values of the factors, of shape (N, 2, F), if they are known;
    only the scores use them."""
    dataset: Dataset = "scene"
    """Images with known factors: a rendered scene, mpi3d or dSprites; your own pairs, if you give
    them."""
    data_dir: Path | None = None
    """Directory of the file of mpi3d or dSprites."""
    image_size: int = 64
    """Height and width of the images of the scene."""
    methods: tuple[Method, ...] = get_args(Method)
    """Methods to compare."""
    n_shared: tuple[int, ...] = (0, 1, 3, 5)
    """Numbers of factors that the images of a pair share; every method is trained for each."""
    shared_factors: SharedFactors = "first"
    """Which factors are shared: the first of the dataset, or random ones for each pair."""

    epochs: int = 300
    """Epochs of every training."""
    steps_per_epoch: int = 1000
    """Steps of an epoch."""
    batch_size: int = 64
    """Pairs of images of a step."""
    learning_rate: float = 1e-4
    """Learning rate (Adam)."""
    schedule: Schedule = "cosine"
    """Whether the learning rate falls to 0 over the training."""
    latent_dim: int = 10
    """Dimension of the latent space."""
    width: int = 32
    """Channels of the outer layers of the networks; the inner ones have twice as many."""
    num_features: int = 256
    """Width of the fully connected layers."""

    average: Average = "gvae"
    """How two posteriors become one: means of means and variances, or product of densities."""
    shared_latents: SharedLatents = "once"
    """Whether a shared dim is one variable of both views or, as in the paper, one per view."""
    size_inputs: SizeInputs = "log-divergence"
    """What the weights of the sizes are computed from; the paper takes the divergences."""
    sizes: Sizes = "modal"
    """Whether DRPM-VAE takes the most probable numbers of dims, or draws them as in the paper."""
    prior_log_odds: float = -2.0
    """Log weight of shared dims relative to the others in the prior of DRPM-VAE."""
    hg_sizes: Sizes = "sampled"
    """The same as sizes, for HG-VAE."""
    hg_prior_log_odds: float = 0.0
    """The same as prior_log_odds, for HG-VAE; it is most accurate with these values."""
    prior_scores: PriorScores = "learned"
    """Whether DRPM-VAE learns which dims tend to be shared."""
    score_scale: float = 20.0
    """Factor of the log-scores of DRPM-VAE, 1 in the paper; noise has a scale of 1."""
    gradient: Gradient = "flow"
    """Gradient of the sampled partitions: fast, or of the paper's relaxation."""
    bound: Bound = "lemma"
    """Terms of the partition in the loss: a bound of Lemma 4.2, or the exact log-mass."""
    beta: float = 1.0
    """Weight of the divergence of the latent variables."""
    gamma: float = 0.25
    """Weight of the numbers of independent and shared dims."""
    delta: float = 0.1
    """Weight of the partition given these numbers."""

    train_pairs: int = 10_000
    """Pairs that the linear classifiers are trained on; of your own all that are trained on."""
    test_pairs: int = 5_000
    """Pairs that they are tested on, and that the number of shared dims is estimated on; of your
    own every fifth."""

    def validate(self) -> None:
        super().validate()
        self.require_positive("epochs", "steps_per_epoch", "batch_size", "learning_rate")
        self.require_positive("image_size", "latent_dim", "width", "num_features")
        self.require_positive("train_pairs", "test_pairs")
        self.require_positive("beta", "gamma", "score_scale")
        self.require_non_negative("delta")
        self.require_different("methods", "n_shared")
        if (self.dataset == "own") != bool(self.data):
            raise ValueError(
                "dataset own and data belong together, but the dataset is "
                f"{self.dataset} and data is {' '.join(map(str, self.data)) or 'not given'}"
            )
        if self.data_dir is not None and self.dataset in {"scene", "own"}:
            raise ValueError(
                f"data_dir is for mpi3d and dsprites, but is {self.data_dir} and the dataset is "
                f"{self.dataset}: give pairs of your own with --data"
            )


_PAPER = Config(
    out=Path("runs/vae/mpi3d"),
    dataset="mpi3d",
    schedule="constant",
    size_inputs="divergence",
    sizes="sampled",
    prior_log_odds=0.0,
    prior_scores="equal",
    score_scale=1.0,
    delta=0.01,
)

PRESETS: dict[str, Config] = {
    "scene": Config(
        out=Path("runs/vae/scene"),
        image_size=32,
        n_shared=(3,),
        epochs=10,
        steps_per_epoch=200,
        batch_size=32,
        learning_rate=1e-3,
        width=16,
        num_features=128,
    ),
    "mpi3d": _PAPER,
    "dsprites": dataclasses.replace(_PAPER, out=Path("runs/vae/dsprites"), dataset="dsprites"),
}
"""Defaults of every dataset; those of the files are the paper's, with the steps and the networks of
``disentanglement_lib``, where it names none."""


def own_preset(image_shape: tuple[int, int, int], num_pairs: int) -> Config:
    """Give the defaults for pairs of one's own.

    Args:
        image_shape: Channels, height and width.
        num_pairs: Number of pairs.
    """
    is_small = max(image_shape[1:]) <= 32
    scene, batch_size = PRESETS["scene"], min(32, num_pairs)
    steps_per_epoch = -(-num_pairs // batch_size)
    return dataclasses.replace(
        scene,
        dataset="own",
        out=Path("runs/vae/own"),
        methods=("drpm",),
        batch_size=batch_size,
        steps_per_epoch=steps_per_epoch,
        epochs=-(-_OWN_STEPS // steps_per_epoch),
        checkpoint_every=10,
        width=16 if is_small else 32,
        num_features=128 if is_small else 256,
    )
