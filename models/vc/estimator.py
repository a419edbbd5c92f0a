# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""DRPM-VC as an estimator of scikit-learn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from pyro.util import get_rng_state, set_rng_state
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from models.data import Scaler, Scaling, fit_scaler
from models.data.items import as_items
from models.training.failures import StageError
from models.training.stages import read_archive
from models.vc.config import Config, NetworkSettings
from models.vc.data import ClusterData
from models.vc.experiment import all_jobs
from models.vc.networks import Autoencoder, encode
from models.vc.own import Fitted, own_data, prepare, probabilities, run
from models.vc.presets import own_preset
from models.vc.priors import ClusterPriors
from models.vc.sizes import SizesLaw
from models.vc.trained import make_trained

__all__ = ["DRPMVC"]

_FORMAT = "pyro-drpm DRPM-VC 1"


class DRPMVC(ClusterMixin, BaseEstimator):
    """Clusters of images or features by a variational autoencoder with a random partition.

    It is what ``python -m models.vc --data FILE`` runs. Defaults depend on the numbers of rows and
    columns, see :func:`models.vc.presets.own_preset`.

    Args:
        n_clusters: Number ``K`` of clusters.
        sizes_law: What is known of the sizes of the clusters: ``"fixed"``, all of them;
            ``"bounded"``; ``"learned"``, nothing; ``"weighted"``, nothing, by the law of the paper.
        cluster_sizes: The sizes, if they are fixed; equal if not given.
        min_size: The least size, if sizes are bounded.
        max_size: The greatest size, if sizes are bounded.
        scaling: Whether each feature is standardised on its own (``"columns"``), or all by the same
            factor (``"common"``), as suits features of the same unit.
        n_init: Number of trainings, of which the one of least loss is kept.
        settings: Other settings by the names of the options of ``python -m models.vc``, such as
            ``{"epochs": 50, "latent_dim": 5}``.
        random_state: Seed, generator, or none for a random one.
        progress: Whether to show progress bars.

    Attributes:
        labels_: Cluster of every item of the training, shape ``(n,)``, from 0, the largest, on.
            If sizes are fixed or bounded, the clusters have such sizes: it is the partition of most
            affinity with them. :meth:`predict` gives each item the cluster that is most probable
            for it alone.
        loss_: Loss per item at the end of the training, in nats.
        network_: Encoder and decoder.
        priors_: The Gaussians of the clusters in the latent space.
        n_features_in_: Number of features; rows of an image.

    Raises:
        ValueError: From ``fit``, if data or settings cannot work, or a training diverges.

    References:
        Sutter, T. M., Ryser, A., Liebeskind, J., Vogt, J. E.: Differentiable random partition
        models. NeurIPS 2023, section 5.1.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> features, species = load_iris(return_X_y=True)
        >>> model = DRPMVC(n_clusters=3, sizes_law="fixed", random_state=0, progress=False)
        >>> np.bincount(model.fit_predict(features))
        array([50, 50, 50])
        >>> model.predict_proba(features[:2]).max(1).round(2)
        array([1., 1.], dtype=float32)
    """

    labels_: NDArray[np.int64]
    loss_: float
    network_: Autoencoder
    priors_: ClusterPriors
    scaler_: Scaler
    beta_: float
    item_shape_: tuple[int, ...]
    n_features_in_: int

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        sizes_law: SizesLaw = "learned",
        cluster_sizes: tuple[int, ...] | None = None,
        min_size: int | None = None,
        max_size: int | None = None,
        scaling: Scaling = "columns",
        n_init: int = 1,
        settings: Mapping[str, Any] | None = None,
        random_state: int | np.random.RandomState | None = None,
        progress: bool = True,
    ) -> None:
        self.n_clusters = n_clusters
        self.sizes_law = sizes_law
        self.cluster_sizes = cluster_sizes
        self.min_size = min_size
        self.max_size = max_size
        self.scaling = scaling
        self.n_init = n_init
        self.settings = settings
        self.random_state = random_state
        self.progress = progress

    def fit(self, X: ArrayLike, y: object = None) -> DRPMVC:
        """Train on items.

        Args:
            X: Features, shape ``(n, D)``, or images, shape ``(n, H, W)`` or ``(n, H, W, C)``.
            y: Ignored.

        Returns:
            The estimator.
        """
        values = self._check(X, reset=True)
        scaler = fit_scaler(values, self.scaling)
        data = own_data(values, scaler)
        with TemporaryDirectory() as directory, _untouched_generators():
            config = self._config(data, scaler, Path(directory))
            jobs = all_jobs(config)
            prepare(config, jobs, data)
            try:
                fitted = run(config, jobs, data)
            except StageError as error:
                raise ValueError(str(error)) from error
        self._take(config, data, scaler, fitted)
        return self

    @classmethod
    def of_run(
        cls,
        config: Config,
        data: ClusterData,
        scaler: Scaler,
        fitted: Fitted,
        columns: Sequence[str],
    ) -> DRPMVC:
        """Give the estimator of a run of the command line.

        Args:
            config: Settings of the run.
            data: The items.
            scaler: Their scale.
            fitted: The outcome.
            columns: Names of the features of a table; none for arrays and images.
        """
        law = config.partition
        model = cls(
            config.networks.num_clusters,
            sizes_law=law.sizes_law,
            cluster_sizes=law.cluster_sizes or None,
            min_size=law.min_size,
            max_size=law.max_size,
            scaling=config.own.scaling,
            n_init=config.seeds,
            random_state=config.seed,
        )
        model._take(config, data, scaler, fitted)
        model.n_features_in_ = data.item_shape[-2 if data.has_images else 0]
        if columns:
            model.feature_names_in_ = np.array(columns, dtype=object)
        return model

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """Give each item the cluster that is most probable for it alone.

        Args:
            X: As for :meth:`fit`.

        Returns:
            Clusters counted from 0, shape ``(n,)``.
        """
        return self.predict_proba(X).argmax(-1)

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float32]:
        """Give the probabilities of the clusters for each item, shape ``(n, K)``.

        Args:
            X: As for :meth:`fit`.
        """
        items = self._items(X)
        return probabilities(self.network_, self.priors_, items, self.beta_).numpy()

    def encode(self, X: ArrayLike) -> NDArray[np.float32]:
        """Give the means of the latent variables of items, shape ``(n, l)``.

        Args:
            X: As for :meth:`fit`.
        """
        return encode(self.network_.encoder, self._items(X)).numpy()

    def save(self, path: Path | str) -> None:
        """Save what was fitted, as tensors and text: nothing that is run when it is loaded.

        Args:
            path: The file; ``.pt`` is usual.
        """
        check_is_fitted(self)
        # A generator is no plain number, and has moved on.
        random_state = self.random_state if isinstance(self.random_state, int) else None
        names = getattr(self, "feature_names_in_", None)
        content = {
            "format": _FORMAT,
            "parameters": {**self.get_params(), "random_state": random_state},
            "networks": asdict(self.network_settings_),
            "network": self.network_.state_dict(),
            "priors": self.priors_.state_dict(),
            "scaler": asdict(self.scaler_),
            "beta": self.beta_,
            "loss": self.loss_,
            "labels": torch.as_tensor(self.labels_),
            "item_shape": list(self.item_shape_),
            "num_features": self.n_features_in_,
            "feature_names": None if names is None else list(map(str, names)),
        }
        torch.save(content, path)

    @classmethod
    def load(cls, path: Path | str) -> DRPMVC:
        """Load what was saved, onto the CPU.

        Args:
            path: The file.

        Raises:
            ValueError: If the file is missing, damaged, or something else.
        """
        content = read_archive(Path(path))
        if content.get("format") != _FORMAT:
            raise ValueError(f"{path} has the format {content.get('format')}, not {_FORMAT}")
        model = cls(**content["parameters"])
        model.network_settings_ = NetworkSettings(**content["networks"])
        model.item_shape_ = tuple(content["item_shape"])
        parts = make_trained(model.network_settings_, int(np.prod(model.item_shape_)))
        model.network_, model.priors_ = parts.network, parts.priors
        model.network_.load_state_dict(content["network"])
        model.priors_.load_state_dict(content["priors"])
        model.scaler_, model.beta_ = Scaler(**content["scaler"]), content["beta"]
        model.labels_, model.loss_ = content["labels"].numpy(), content["loss"]
        model.n_features_in_ = content["num_features"]
        if content["feature_names"] is not None:
            model.feature_names_in_ = np.array(content["feature_names"], dtype=object)
        return model

    def _config(self, data: ClusterData, scaler: Scaler, out: Path) -> Config:
        number, is_pixels = len(data.train), scaler.is_pixels
        preset = own_preset(data.item_shape, number, self.n_clusters, is_pixels=is_pixels)
        own = {
            "out": out,
            "data": Path("X"),
            "num_clusters": self.n_clusters,
            "seed": check_random_state(self.random_state).randint(2**31 - 1),
            "seeds": self.n_init,
            "progress": self.progress,
            "scaling": self.scaling,
            "sizes_law": self.sizes_law,
            "cluster_sizes": () if self.cluster_sizes is None else tuple(self.cluster_sizes),
            "min_size": self.min_size,
            "max_size": self.max_size,
        }
        others = dict(self.settings or {})
        if clash := own.keys() & others.keys():
            raise ValueError(
                f"settings must not hold {sorted(clash)[0]!r}, which the estimator sets itself"
            )
        return preset.replaced(**own, **others)

    def _take(self, config: Config, data: ClusterData, scaler: Scaler, fitted: Fitted) -> None:
        self.network_, self.priors_ = fitted.network, fitted.priors
        self.network_settings_ = config.networks
        self.scaler_, self.beta_ = scaler, config.training.beta
        self.item_shape_ = data.item_shape
        self.labels_ = fitted.clusters.numpy()
        self.loss_ = fitted.loss

    def _items(self, X: ArrayLike) -> torch.Tensor:
        check_is_fitted(self)
        return self.scaler_(self._check(X, reset=False))

    def _check(self, X: ArrayLike, *, reset: bool) -> NDArray[Any]:
        """Give items with channels first."""
        least = 2 if reset else 1
        values = validate_data(self, X, reset=reset, allow_nd=True, ensure_min_samples=least)
        values = as_items(values, "X")
        if not reset and values.shape[1:] != self.item_shape_:
            raise ValueError(
                f"items must have the shape {self.item_shape_}, as in the training, but have "
                f"{values.shape[1:]}"
            )
        return values


@contextmanager
def _untouched_generators() -> Iterator[None]:
    """Leave the global generators as they were."""
    state = get_rng_state()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        set_rng_state(state)
