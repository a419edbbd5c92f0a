# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Settings of a run of DRPM-VC, in groups."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from models.data import Scaling, Split
from models.runs.jobs import JobSettings
from models.runs.settings import SettingsGroup
from models.training.schedule import Schedule
from models.vc.likelihoods import LikelihoodName
from models.vc.neighbors import Resemblance
from models.vc.networks import Precision
from models.vc.priors import Covariance
from models.vc.scores import Sizes
from models.vc.sizes import SizesLaw
from models.vc.starts import Start
from pyro_drpm.types import Bound, Gradient

__all__ = [
    "Config",
    "Dataset",
    "Guide",
    "Method",
    "NetworkSettings",
    "OwnDataSettings",
    "PartitionSettings",
    "Pretraining",
    "PretrainingSettings",
    "ScoreSettings",
    "TrainedLayers",
    "TrainingSettings",
]

Dataset = Literal["digits", "mnist", "fashion-mnist", "own"]
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
Pretraining = Literal["contrastive", "neighbors", "spectral", "reconstruction", "components"]


@dataclass(frozen=True)
class OwnDataSettings(SettingsGroup):
    """Your own data."""

    data: Path | None = None
    """Your own data: images or features (.npz, .npy), a table (.csv, .parquet), or a folder of
    images (.png, .jpg)."""
    array: str | None = None
    """Name of the array in an .npz file, if it holds several."""
    labels: str | None = None
    """Column of the table, or array of the .npz file, with classes; only the scores use them."""
    ids: str | None = None
    """Column of the table, or array of the .npz file, with the names of the items."""
    scaling: Scaling = "columns"
    """Whether each feature is standardised on its own, or all by the same factor, as suits features
    of the same unit."""


@dataclass(frozen=True)
class NetworkSettings(SettingsGroup):
    """Sizes of the networks and the priors."""

    hidden: tuple[int, ...] = (500, 500, 2000)
    """Widths of the encoder's hidden layers; without any, encoder and decoder are linear."""
    latent_dim: int = 10
    """Dimension of the latent space."""
    num_clusters: int = 10
    """Number of clusters."""
    covariance: Covariance = "diagonal"
    """Covariances of the clusters in the latent space."""
    likelihood: LikelihoodName = "pixels"
    """Law of the values of an item: grey values or colours from 0 to 1, or normal."""
    precision: Precision = "float32"
    """Precision of the products of matrices in hidden layers; bfloat16 is several times as fast on
    processors that know it, and slow on others."""

    def validate(self) -> None:
        super().validate()
        self.require_positive("latent_dim", "num_clusters")
        if min(self.hidden, default=1) < 1:
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
    spectral_epochs: int = 12
    """Epochs of the pretraining by spectral coordinates of the graph of neighbors."""
    num_neighbors: int = 10
    """Number of neighbors of an image in the pretrainings neighbors and spectral."""
    resemblance: Resemblance = "pixels"
    """Whether neighbors resemble each other in their pixels or in their histograms of gradients."""
    reconstruction_epochs: int = 50
    """Epochs of the pretraining by reconstruction."""
    pretrain_batch_size: int = 1024
    """Batch size of the contrastive pretraining and of that by reconstruction."""
    neighbor_batch_size: int = 256
    """Batch size of the pretrainings neighbors and spectral."""
    pretrain_learning_rate: float = 1e-3
    """Learning rate of the pretraining (Adam)."""
    reconstruction_weight: float = 1.0
    """Weight of the mean squared error of a batch beside other losses of the pretraining."""
    input_noise: float = 0.0
    """Noise on the pixels in contrastive pretraining, as a standard deviation."""

    def validate(self) -> None:
        super().validate()
        self.require_positive(
            *("pretrain_epochs", "neighbor_epochs", "cluster_epochs", "spectral_epochs"),
            *("reconstruction_epochs", "pretrain_batch_size", "neighbor_batch_size"),
            *("num_neighbors", "pretrain_learning_rate"),
        )
        self.require_non_negative("reconstruction_weight", "input_noise")


@dataclass(frozen=True)
class TrainingSettings(SettingsGroup):
    """How DRPM-VC and all VaDEs are trained."""

    priors: Start = "mixture"
    """What the priors of DRPM-VC and of all VaDEs start from: k-means, a Gaussian mixture whose
    clusters have equal sizes, or a Gaussian mixture, as in the paper."""
    widen_priors: bool = False
    """Whether the priors start with the variances of latent variables, which spread around their
    means, instead of those of the means, as in the paper."""
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

    sizes_law: SizesLaw = "fixed"
    """What is known of the sizes of the clusters: all of them; bounds; nothing, with a spread that
    is learned (Dirichlet-multinomial); or as in the paper Fisher's law with weights that are
    learned."""
    cluster_sizes: tuple[int, ...] = ()
    """The sizes, if they are fixed; equal if not given."""
    min_size: int | None = None
    """The least size, if sizes are bounded."""
    max_size: int | None = None
    """The greatest size, if sizes are bounded."""
    size_spread: float = 0.0
    """Standard deviation of fixed sizes, as a share of them; with 0 they are exact."""
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
        if self.guide == "scores" and self.sizes_law == "fixed" and not self.size_spread:
            raise ValueError(
                "size_spread must be positive with guide scores, whose sizes differ, but is 0.0; "
                "or sizes_law must not be fixed"
            )
        self._require_law("fixed", "cluster_sizes")
        self._require_law("bounded", "min_size", "max_size")
        if self.sizes_law == "bounded" and self.min_size is None and self.max_size is None:
            raise ValueError("min_size or max_size must be given if sizes_law is bounded")

    def _require_law(self, law: SizesLaw, *names: str) -> None:
        for name in names:
            if getattr(self, name) not in ((), None) and self.sizes_law != law:
                raise ValueError(
                    f"{name} is for sizes_law {law}, but sizes_law is {self.sizes_law}"
                )

    def bounds(self, num_items: int) -> tuple[int, int]:
        """Give the least and the greatest size among ``num_items``."""
        least = 0 if self.min_size is None else self.min_size
        return least, num_items if self.max_size is None else self.max_size

    def sizes(self, num_items: int, num_clusters: int) -> tuple[int, ...]:
        """Give the fixed sizes of clusters of ``num_items``, equal ones unless others are set."""
        each, rest = divmod(num_items, num_clusters)
        return self.cluster_sizes or tuple(each + (k < rest) for k in range(num_clusters))

    def check_sizes(self, num_items: int, num_clusters: int) -> None:
        """Check that so many items can be in clusters of these sizes.

        Raises:
            ValueError: If they cannot.
        """
        sizes, (least, most) = self.cluster_sizes, self.bounds(num_items)
        if sizes and (len(sizes) != num_clusters or min(sizes) < 0 or sum(sizes) != num_items):
            raise ValueError(
                f"cluster_sizes must be {num_clusters} sizes that sum to {num_items}, the number "
                f"of items, but is {sizes}"
            )
        if not 0 <= num_clusters * least <= num_items <= num_clusters * most:
            raise ValueError(
                f"{num_clusters} clusters of min_size {least} to max_size {most} must be able to "
                f"hold {num_items} items"
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
    """Cluster your own data with DRPM-VC ("--data FILE"), or compare it with its baselines.

    Defaults depend on the data, the dataset and the preset: "--data FILE --help" shows those for
    a file, "--dataset mnist --preset paper --help" those of the paper for MNIST.
    """

    own: OwnDataSettings = OwnDataSettings()
    dataset: Dataset = "digits"
    """Images to cluster: those that come with scikit-learn, MNIST, or Fashion-MNIST; your own data,
    if you give them."""
    preset: Literal["default", "paper"] = "default"
    """Our settings, or those of the paper."""
    data_dir: Path | None = None
    """Directory of the files of (Fashion-)MNIST, which are downloaded if it is not given."""
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
        if "components" in self.pretrainings and self.networks.hidden:
            raise ValueError(
                "pretraining components is for linear networks, but hidden is "
                f"{self.networks.hidden}: give --hidden without widths"
            )
        if self.dataset == "own" and self.own.data is None:
            raise ValueError("dataset own needs a file: give it with --data")
        if self.dataset != "own" and self.own.data is not None:
            raise ValueError(f"data is your own, but dataset is {self.dataset}: give one of both")
        if self.data_dir is not None and self.dataset in {"digits", "own"}:
            raise ValueError(
                f"data_dir is for mnist and fashion-mnist, but is {self.data_dir} and the dataset "
                f"is {self.dataset}: give a file of your own with --data"
            )

    def check_data(self, item_shape: tuple[int, ...], number: int) -> None:
        """Check the settings that the items to train on have to suffice for.

        Args:
            item_shape: ``(C, H, W)`` or ``(D,)``.
            number: Number of items.

        Raises:
            ValueError: If there are fewer items than clusters, or than the neighbors of an item
                and itself; if clusters cannot have the sizes that they are to have; if the latent
                space is to have more principal components or spectral coordinates than there are;
                or if features are to be changed or described as images are.
        """
        networks = self.networks
        if networks.num_clusters > number:
            raise ValueError(
                f"num_clusters must be at most {number}, the number of items to train on, but is "
                f"{networks.num_clusters}"
            )
        need_neighbors = not {"neighbors", "spectral"}.isdisjoint(self.pretrainings)
        if need_neighbors and self.pretraining.num_neighbors >= number:
            raise ValueError(
                f"num_neighbors must be below {number}, the number of items to train on, but is "
                f"{self.pretraining.num_neighbors}"
            )
        most = min(number, math.prod(item_shape))
        if "components" in self.pretrainings and networks.latent_dim > most:
            raise ValueError(
                f"latent_dim must be at most {most}, the number of principal components, but is "
                f"{networks.latent_dim}"
            )
        if "spectral" in self.pretrainings and networks.latent_dim >= number:
            raise ValueError(
                f"latent_dim must be below {number}, the number of items to train on, for spectral "
                f"coordinates, but is {networks.latent_dim}"
            )
        by_gradients = need_neighbors and self.pretraining.resemblance == "gradients"
        if by_gradients and len(item_shape) == 1:
            raise ValueError("resemblance gradients is for images: give --resemblance pixels")
        if "contrastive" in self.pretrainings and len(item_shape) == 1:
            raise ValueError(
                "pretraining contrastive is for images: give --pretrainings reconstruction, "
                "neighbors, spectral or components"
            )
        self.partition.check_sizes(number, networks.num_clusters)
