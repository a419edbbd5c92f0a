# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""DRPM-VC as scikit-learn knows estimators, and what only it can do."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PowerTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

from models.vc.estimator import DRPMVC
from pyro_drpm.metrics import adjusted_rand_index
from tests.models.own_files import iris_table, scene_images

SHORT = {"epochs": 2, "pretrain_epochs": 2}


def short(n_clusters: int = 3, **options: Any) -> DRPMVC:
    settings = {**SHORT, **options.pop("settings", {})}
    defaults = {"random_state": 0, "progress": False}
    return DRPMVC(n_clusters, settings=settings, **{**defaults, **options})


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks([DRPMVC(progress=False, settings={"epochs": 2})])
def test_it_is_an_estimator(estimator: DRPMVC, check: Callable[[DRPMVC], None]) -> None:
    check(estimator)


def test_fixed_sizes_are_kept_and_expected() -> None:
    features, classes = load_wine(return_X_y=True)
    sizes = tuple(np.bincount(classes).tolist())
    model = DRPMVC(3, sizes_law="fixed", cluster_sizes=sizes, random_state=0, progress=False).fit(
        features
    )
    assert np.bincount(model.labels_).tolist() == [71, 59, 48]
    expected = model.predict_proba(features).sum(0)
    np.testing.assert_allclose(expected, [71, 59, 48], atol=1e-2)
    assert adjusted_rand_index(classes, model.labels_) > 0.8


def test_bounded_sizes_are_kept() -> None:
    features = load_iris().data
    free = short(settings={"priors": "k-means"}).fit(features)
    bounded = short(
        sizes_law="bounded", min_size=48, max_size=52, settings={"priors": "k-means"}
    ).fit(features)
    assert np.bincount(free.labels_).min() < 48 and np.bincount(free.labels_).max() > 52
    assert 48 <= np.bincount(bounded.labels_).min() <= np.bincount(bounded.labels_).max() <= 52


def test_the_largest_cluster_is_number_0() -> None:
    model = short().fit(load_wine().data)
    sizes = np.bincount(model.labels_, minlength=3)
    assert (np.diff(sizes) <= 0).all()
    assert (model.predict(load_wine().data) == model.labels_).mean() > 0.99


def test_images_of_any_size_and_colour() -> None:
    images = scene_images(number=40, size=16)
    model = short().fit(images)
    assert model.network_settings_.likelihood == "pixels"
    assert model.predict(images[:5]).shape == (5,) and model.encode(images[:5]).shape == (5, 10)
    with pytest.raises(ValueError, match=r"shape \(3, 16, 16\), as in the training"):
        model.predict(images[:, :, :8])
    wide = load_digits().images[:40, :, :5]
    assert short().fit_predict(wide).shape == (40,)
    signed = short().fit(wide - 8)
    assert signed.network_settings_.likelihood == "normal"


@pytest.mark.parametrize("features", [load_iris().data, load_digits().images[:60]])
def test_what_is_saved_is_loaded(tmp_path: Path, features: np.ndarray) -> None:
    sizes = (len(features) - 20, 12, 8)
    model = short(sizes_law="fixed", cluster_sizes=sizes, settings={"epochs": 3}).fit(features)
    model.save(tmp_path / "model.pt")
    loaded = DRPMVC.load(tmp_path / "model.pt")
    assert loaded.get_params() == model.get_params()
    for name in ("predict_proba", "predict", "encode"):
        np.testing.assert_array_equal(
            getattr(loaded, name)(features), getattr(model, name)(features)
        )
    np.testing.assert_array_equal(loaded.labels_, model.labels_)
    with pytest.raises(ValueError, match="features|shape"):
        loaded.predict(features[:, :2])


def test_names_of_columns_are_kept(tmp_path: Path) -> None:
    table = iris_table().drop(columns="species")
    model = short().fit(table)
    model.save(tmp_path / "model.pt")
    loaded = DRPMVC.load(tmp_path / "model.pt")
    assert loaded.feature_names_in_.tolist() == list(table)
    with pytest.raises(ValueError, match="feature names"):
        loaded.predict(table.rename(columns={table.columns[0]: "other"}))


def test_what_cannot_be_loaded(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    with pytest.raises(ValueError, match=r"model.pt does not exist"):
        DRPMVC.load(path)
    for content, message in [
        ({"format": "other"}, "has the format other, not"),
        ({}, "has the format None"),
        ([1], "holds something else"),
        (short(), "truncated or corrupt"),  # code, which is never run
    ]:
        torch.save(content, path)
        with pytest.raises(ValueError, match=message):
            DRPMVC.load(path)
    short().fit(load_iris().data).save(path)
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[:middle] + bytes(1000) + content[middle + 1000 :])
    with pytest.raises(ValueError, match="corrupt"):
        DRPMVC.load(path)
    with pytest.raises(NotFittedError):
        short().save(path)


def test_global_generators_are_left_alone() -> None:
    def states() -> tuple[object, ...]:
        return torch.get_rng_state().tolist(), str(np.random.get_state()), random.getstate()

    before = states()
    short().fit(load_iris().data)
    assert states() == before


def test_the_same_seed_gives_the_same_clusters() -> None:
    features = load_iris().data
    first, again, other = (short(random_state=seed).fit(features) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.encode(features), again.encode(features))
    assert (first.encode(features) != other.encode(features)).any()


def test_clone_and_pipeline() -> None:
    model = short(min_size=40, sizes_law="bounded")
    assert clone(model).get_params() == model.get_params()
    pipeline = make_pipeline(PowerTransformer(), model)
    features = load_iris().data
    assert pipeline.fit_predict(features).shape == (150,)
    np.testing.assert_allclose(pipeline.predict_proba(features).sum(1), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_clusters": 200}, "num_clusters must be at most 150"),
        ({"sizes_law": "fixed", "cluster_sizes": (50, 50)}, "3 sizes that sum to 150"),
        ({"sizes_law": "fixed", "cluster_sizes": (50, 50, 51)}, "3 sizes that sum to 150"),
        ({"cluster_sizes": (50, 50, 50)}, "cluster_sizes is for sizes_law fixed"),
        ({"max_size": 60}, "max_size is for sizes_law bounded"),
        ({"sizes_law": "bounded"}, "min_size or max_size must be given"),
        ({"sizes_law": "bounded", "max_size": 40}, "must be able to hold 150 items"),
        ({"sizes_law": "bounded", "min_size": 51}, "must be able to hold 150 items"),
        ({"settings": {"latent_dim": 5}}, "latent_dim must be at most 4"),
        ({"settings": {"likelihood": "pixels"}}, "likelihood pixels is for values from 0 to 1"),
        ({"settings": {"hidden": (8,)}}, "pretraining components is for linear networks"),
        ({"settings": {"colour": 3}}, "there is no setting 'colour'"),
        ({"settings": {"out": "here"}}, "settings must not hold 'out'"),
        ({"settings": {"pretrainings": ("contrastive",)}}, "contrastive is for images"),
        ({"settings": {"learning_rate": 1e30}}, "not finite|stage"),
    ],
)
def test_settings_that_cannot_work(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        short(**options).fit(load_iris().data)


def test_features_may_have_hidden_layers() -> None:
    for pretraining in ("reconstruction", "neighbors"):
        settings = {
            **{"hidden": (8, 6), "pretrainings": (pretraining,), "reconstruction_epochs": 2},
            **{"neighbor_epochs": 2, "cluster_epochs": 2},
        }
        model = short(settings=settings).fit(load_wine().data)
        assert model.predict_proba(load_wine().data).shape == (178, 3)
