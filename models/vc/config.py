# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Settings of a run of DRPM-VC in groups, with the defaults of each dataset."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from models.data import DatasetName, Split
from models.runs.jobs import JobSettings
from models.runs.settings import SettingsGroup
from models.training.schedule import Schedule
from models.vc.scores import Sizes
from models.vc.sizes import SizePriorName
from models.vc.starts import Start
from pyro_drpm.types import Bound, Gradient

__all__ = [
    "PRESETS",
    "Config",
    "Guide",
    "Method",
    "NetworkSettings",
    "PartitionSettings",
    "Pretraining",
    "PretrainingSettings",
    "ScoreSettings",
    "TrainedLayers",
    "TrainingSettings",
]

Method = Literal[
    "gmm",
    "latent-kmeans",
    "latent-gmm",
    "latent-equal",
    "vade",
    "vade-frozen",
    "vade-augmented",
    "categorical",
    "drpm",
]
TrainedLayers = Literal["heads", "all"]
Guide = Literal["affinities", "scores"]
Pretraining = Literal["contrastive", "neighbors", "reconstruction"]


@dataclass(frozen=True)
class NetworkSettings(SettingsGroup):
    """Sizes of the networks and the priors."""

    hidden: tuple[int, ...] = (500, 500, 2000)
    """Widths of the encoder's hidden layers."""
    latent_dim: int = 10
    """Dimension of the latent space."""
    num_clusters: int = 10
    """Number of clusters."""

    def validate(self) -> None:
        super().validate()
        self.require_positive("latent_dim", "num_clusters")
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"hidden must hold positive widths, but is {self.hidden}")


@dataclass(frozen=True)
class PretrainingSettings(SettingsGroup):
    """How the autoencoder is pretrained, in any of the ways."""

    pretrain_epochs: int = 200
    """Epochs of the contrastive pretraining."""
    neighbor_epochs: int = 12
    """Epochs of the pretraining with neighbors, before clusters are made."""
    cluster_epochs: int = 20
    """Epochs of the pretraining with neighbors in which clusters are made."""
    num_neighbors: int = 10
    """Number of neighbors of an image in that pretraining."""
    reconstruction_epochs: int = 50
    """Epochs of the pretraining by reconstruction."""
    pretrain_batch_size: int = 1024
    """Batch size of the contrastive pretraining and of that by reconstruction."""
    neighbor_batch_size: int = 256
    """Batch size of the pretraining with neighbors."""
    pretrain_learning_rate: float = 1e-3
    """Learning rate of the pretraining (Adam)."""
    reconstruction_weight: float = 1.0
    """Weight of the mean squared error of a batch beside other losses of the pretraining."""
    input_noise: float = 0.0
    """Noise on the pixels in contrastive pretraining, as a standard deviation."""

    def validate(self) -> None:
        super().validate()
        self.require_positive(
            *("pretrain_epochs", "neighbor_epochs", "cluster_epochs", "reconstruction_epochs"),
            *("num_neighbors", "pretrain_batch_size", "neighbor_batch_size"),
            "pretrain_learning_rate",
        )
        self.require_non_negative("reconstruction_weight", "input_noise")


@dataclass(frozen=True)
class TrainingSettings(SettingsGroup):
    """How DRPM-VC and all VaDEs are trained."""

    priors: Start = "mixture"
    """What the priors of DRPM-VC and of all VaDEs start from: k-means, a Gaussian mixture whose
    clusters have equal sizes, or a Gaussian mixture, as in the paper."""
    epochs: int = 10
    """Epochs of DRPM-VC and of all VaDEs."""
    batch_size: int = 256
    """Batch size of DRPM-VC and of all VaDEs."""
    learning_rate: float = 1e-4
    """Learning rate of DRPM-VC and of VaDE that is trained like it (AdamW)."""
    schedule: Schedule = "constant"
    """Whether their learning rate falls to 0 over the training."""
    trained_layers: TrainedLayers = "all"
    """What DRPM-VC trains of the encoder: all layers, on images that are changed at random after
    they were partitioned, or as in the paper its heads, on features of the frozen hidden layers."""
    beta: float = 1.0
    """Weight of the divergence of the latent variables."""
    learn_weights: bool = True
    """Whether the weights of the clusters are learned, or stay equal, in DRPM-VC with categorical
    variables and in VaDE."""

    def validate(self) -> None:
        super().validate()
        self.require_positive("epochs", "batch_size", "learning_rate", "beta")


@dataclass(frozen=True)
class PartitionSettings(SettingsGroup):
    """The partition of DRPM-VC: its sizes, its guide, and its loss."""

    size_prior: SizePriorName = "equal"
    """What is known of the sizes in a batch: equal; equal on average, with a spread that is learned
    (Dirichlet-multinomial); or as in the paper Fisher's law with weights that are learned."""
    size_spread: float = 0.0
    """Standard deviation of equal sizes, as a share of them; with 0 they differ by at most 1."""
    guide: Guide = "affinities"
    """Guide of the partition: from how well each image fits each cluster, or as in the paper with
    one score per image."""
    num_particles: int = 4
    """Partitions sampled per step by the guide from affinities, each with latent variables."""
    bound: Bound = "exact"
    """Terms of the partition in the loss: a bound of Lemma 4.2, or the exact log-mass."""
    gamma: float = 1.0
    """Weight of the subset sizes."""
    delta: float = 1.0
    """Weight of the assignment given the sizes."""
    beta_steps: int = 0
    """Steps in which beta grows from a tenth, as in the published code; 0 for no growth."""
    refit_every: int = 0
    """Epochs after which the priors start anew from a Gaussian mixture; 0 for never."""

    def validate(self) -> None:
        super().validate()
        self.require_non_negative("size_spread", "gamma", "delta", "beta_steps", "refit_every")
        if self.num_particles < 2:  # each is compared with the others
            raise ValueError(f"num_particles must be at least 2, but is {self.num_particles}")
        if self.guide == "scores" and self.size_prior == "equal" and not self.size_spread:
            raise ValueError(
                "size_spread must be positive with guide scores, whose sizes differ, but is 0.0; "
                "or size_prior must not be equal"
            )


@dataclass(frozen=True)
class ScoreSettings(SettingsGroup):
    """The guide of the paper, with one score per image."""

    num_partitions: int = 100
    """Partitions sampled per step."""
    sizes: Sizes = "nearest"
    """Sizes of the guide's subsets: numbers of the images nearest to each cluster; without noise,
    as in the published code; or sampled, as in the paper."""
    score_scale: float = 10.0
    """Initial value of the scale u of the log-scores."""
    learn_score_scale: bool = True
    """Whether that scale is learned."""
    gradient: Gradient = "flow"
    """Gradient of the sampled partitions: fast, or of the paper's relaxation."""
    anneal_steps: int = 100_000
    """Steps in which the temperature of the relaxation falls from 1 to 0.5."""

    def validate(self) -> None:
        super().validate()
        self.require_positive("num_partitions", "score_scale", "anneal_steps")


@dataclass(frozen=True)
class Config(JobSettings):
    """Train DRPM-VC and its baselines, and compare how well they cluster the test images.

    Defaults depend on the dataset and the preset: "--dataset mnist --preset paper --help" shows
    those of the paper for MNIST.
    """

    dataset: DatasetName = "digits"
    """Images to cluster: those that come with scikit-learn, MNIST, or Fashion-MNIST."""
    preset: Literal["default", "paper"] = "default"
    """Our settings, or those of the paper."""
    data_dir: Path | None = None
    """Directory of the files of (Fashion-)MNIST; downloaded if not given."""
    evaluate_on: Split = "test"
    """Images that are clustered for the scores; files of test images are not needed for train."""
    methods: tuple[Method, ...] = get_args(Method)
    """Methods to compare: a mixture of the pixels, k-means, a mixture and one with clusters of
    equal sizes of the latent means, VaDE as its authors train it, on frozen features, and on images
    that are changed at random, DRPM-VC with a categorical variable for each image instead of its
    partition, and DRPM-VC."""
    pretrainings: tuple[Pretraining, ...] = ("contrastive",)
    """How the autoencoder is pretrained; every method starts from each."""
    pretrained: Path | None = None
    """Directory of a run with the same pretraining, whose weights are taken."""

    networks: NetworkSettings = NetworkSettings()
    pretraining: PretrainingSettings = PretrainingSettings()
    training: TrainingSettings = TrainingSettings()
    partition: PartitionSettings = PartitionSettings()
    scores: ScoreSettings = ScoreSettings()

    def validate(self) -> None:
        super().validate()
        self.require_different("methods", "pretrainings")
        if self.pretrained is not None and self.pretrained.resolve() == self.out.resolve():
            raise ValueError(f"pretrained must be another directory than out, but is {self.out}")

    def check_number_of_images(self, number: int) -> None:
        """Check the settings that the training images have to suffice for.

        Raises:
            ValueError: If there are fewer images than clusters, or than the neighbors of an image
                and itself.
        """
        if self.networks.num_clusters > number:
            raise ValueError(
                f"num_clusters must be at most {number}, the number of training images, but is "
                f"{self.networks.num_clusters}"
            )
        if "neighbors" in self.pretrainings and self.pretraining.num_neighbors >= number:
            raise ValueError(
                f"num_neighbors must be below {number}, the number of training images, but is "
                f"{self.pretraining.num_neighbors}"
            )


# The paper's prior of the sizes, its guide and its loss.
_WEIGHTED_SCORES = PartitionSettings(
    size_prior="weighted", guide="scores", bound="lemma", delta=0.01
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
    partition=_WEIGHTED_SCORES,
)
_FASHION = replace(
    _MNIST,
    dataset="fashion-mnist",
    out=Path("runs/vc/fashion-mnist"),
    networks=NetworkSettings(latent_dim=20),
    training=TrainingSettings(priors="k-means", beta=0.1, trained_layers="heads"),
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
