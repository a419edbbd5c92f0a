# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""``python -m models.vc --data``: real files, what a run leaves, and what is wrong in one line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_iris

from models.vc import cli
from models.vc.estimator import DRPMVC
from models.vc.presets import own_preset
from models.vc.trained import load_trained
from tests.models.own_files import digit_folder, iris_table, save_table, scene_images, wine_table
from tests.models.training_checks import error_line

TINY = ("--epochs", "3", "--pretrain-epochs", "3", "--no-progress", "--device", "cpu")


def run(*args: object) -> None:
    cli.main([*TINY, *map(str, args)])


def clusters_of(out: Path) -> pd.DataFrame:
    return pd.read_csv(out / "clusters.csv", dtype={"id": str})


def test_a_csv_of_iris(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = save_table(iris_table(), tmp_path / "iris.csv"), tmp_path / "out"
    run("--data", path, "--labels", "species", "--out", out, "--seeds", 2)
    said = capsys.readouterr().out
    assert "iris.csv, 150 rows of 4 features" in said
    assert "normal, standardised values" in said
    assert "3, full covariances, learned sizes" in said
    assert "nmi" in said and "drpm" in said
    table = clusters_of(out)
    assert list(table) == ["id", "cluster", *(f"probability_{k}" for k in range(3))]
    assert table.id.tolist() == [str(i) for i in range(150)]
    np.testing.assert_allclose(table.filter(like="probability").sum(axis=1), 1, atol=1e-5)
    for name in ("model.pt", "projection.png", "profiles.png"):
        assert str(out / name) in said and (out / name).stat().st_size > 1000
    assert not (out / "members.png").exists()
    model = DRPMVC.load(out / "model.pt")
    assert model.labels_.tolist() == table.cluster.tolist()
    named = iris_table().drop(columns="species")
    np.testing.assert_allclose(
        model.predict_proba(named), table.filter(like="probability"), atol=1e-5
    )
    losses = pd.read_csv(out / "components/seed-0/curves.csv")
    assert losses.stage.unique().tolist() == ["drpm"] and np.isfinite(losses.value).all()
    trained = load_trained(out, "drpm", "components/seed-1")
    assert trained.priors.covariance == "full" and trained.network.latent_dim == 4


def test_a_parquet_of_wine_with_known_sizes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = save_table(wine_table(), tmp_path / "wine.parquet"), tmp_path / "out"
    sizes = ("--sizes-law", "fixed", "--cluster-sizes", 48, 59, 71, "--num-clusters", 3)
    run("--data", path, "--ids", "name", "--out", out, *sizes)
    said = capsys.readouterr().out
    assert "sizes        71, 59, 48" in said
    assert "14 features" in said  # one of them the cultivar, which nothing says is a label
    table = clusters_of(out)
    assert table.id[3] == "wine 3"
    assert table.cluster.value_counts().tolist() == [71, 59, 48]
    np.testing.assert_allclose(table.filter(like="prob").sum(), [71, 59, 48], atol=0.1)


def test_a_folder_of_digits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = digit_folder(tmp_path / "digits"), tmp_path / "out"
    options = ("--sizes-law", "bounded", "--min-size", 4, "--max-size", 9)
    run("--data", folder, "--labels", "folder", "--out", out, "--hidden", 16, 8, *options)
    said = capsys.readouterr().out
    assert "60 images of 8 x 8 pixels, grey" in said and "pixels, values from 0 to 1" in said
    table = clusters_of(out)
    assert "0/000.png" in set(table.id)
    assert 4 <= table.cluster.value_counts().min() <= table.cluster.value_counts().max() <= 9
    pictures = ("projection.png", "members.png")
    others = [f"contrastive/seed-0/{name}.png" for name in ("partition", "samples", "curves")]
    assert all((out / name).stat().st_size > 1000 for name in (*pictures, *others))


def test_coloured_images_without_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = tmp_path / "scene.npz", tmp_path / "out"
    np.savez(path, images=scene_images())
    run("--data", path, "--out", out, "--num-clusters", 4, "--hidden", 16)
    said = capsys.readouterr().out
    assert "40 images of 16 x 16 pixels, coloured" in said
    (scores,) = (line for line in said.splitlines() if line.startswith("drpm"))
    assert len(scores.split()) == 2  # the loss alone
    assert clusters_of(out).cluster.between(0, 3).all()


def test_the_directory_is_named_after_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_table(iris_table(), tmp_path / "iris.csv")
    run("--data", "iris.csv", "--labels", "species")
    assert (tmp_path / "runs/vc/own/iris/clusters.csv").exists()


def test_the_training_of_least_loss_is_kept(tmp_path: Path) -> None:
    path, out = save_table(iris_table(), tmp_path / "iris.csv"), tmp_path / "out"
    run("--data", path, "--labels", "species", "--out", out, "--seed", 1, "--seeds", 4)
    losses = {}
    for seed in range(1, 5):
        curves = pd.read_csv(out / f"components/seed-{seed}/curves.csv")
        losses[seed] = curves[curves.metric == "loss"].value.iloc[-1]
    best = min(losses, key=losses.__getitem__)
    assert best not in {1, 4}  # neither the first nor the last
    model = DRPMVC.load(out / "model.pt")
    assert model.loss_ == pytest.approx(losses[best])
    trained = load_trained(out, "drpm", f"components/seed-{best}")
    kept, expected = (x.state_dict() for x in (model.network_, trained.network))
    torch.testing.assert_close(kept, expected, rtol=0, atol=0)


def test_features_of_an_array(tmp_path: Path) -> None:
    path, out = tmp_path / "features.npy", tmp_path / "out"
    np.save(path, load_iris().data)
    run("--data", path, "--out", out, "--num-clusters", 3)
    assert (out / "profiles.png").stat().st_size > 1000
    model = DRPMVC.load(out / "model.pt")
    assert model.n_features_in_ == 4 and model.predict(load_iris().data[:7]).shape == (7,)


def test_other_methods_beside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = save_table(iris_table(), tmp_path / "iris.csv"), tmp_path / "out"
    methods = ("--methods", "gmm", "latent-gmm", "vade", "categorical", "drpm")
    run("--data", path, "--labels", "species", "--out", out, *methods)
    rows = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert {"gmm", "latent-gmm", "vade", "categorical", "drpm"} <= set(rows)


@pytest.mark.parametrize("hidden", [(), (8,)])
def test_a_run_is_resumed(tmp_path: Path, hidden: tuple[int, ...]) -> None:
    path = save_table(iris_table(), tmp_path / "iris.csv")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    pretraining = "reconstruction" if hidden else "components"
    options = ("--hidden", *hidden, "--pretrainings", pretraining, "--reconstruction-epochs", 2)
    common = ("--data", path, "--labels", "species", "--checkpoint-every", 1, *options)
    run(*common, "--out", whole)
    run(*common, "--out", parts)
    (parts / pretraining / "seed-0/drpm.ckpt").unlink()
    run(*common, "--out", parts, "--resume")
    assert (whole / "clusters.csv").read_text() == (parts / "clusters.csv").read_text()


@pytest.mark.filterwarnings("ignore:.*os.fork")
def test_several_trainings_at_once(tmp_path: Path) -> None:
    path = save_table(iris_table(), tmp_path / "iris.csv")
    common = ("--data", path, "--labels", "species", "--seeds", 2)
    with joblib.parallel_config("loky", inner_max_num_threads=1):
        run(*common, "--out", tmp_path / "two", "--jobs", 2)
    run(*common, "--out", tmp_path / "one")
    tables = (clusters_of(tmp_path / name) for name in ("one", "two"))
    first, second = (table.filter(like="probability").to_numpy() for table in tables)
    np.testing.assert_allclose(first, second, atol=1e-4)


def labelled(folder: Path) -> Path:
    return save_table(iris_table(), folder / "iris.csv")


def short_table(folder: Path) -> Path:
    return save_table(iris_table().head(5), folder / "iris.csv")


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (lambda folder: folder / "none.csv", (), "none.csv does not exist"),
        (labelled, (), "'species' .* has 'setosa' in row 0: leave it out, or name it with"),
        (labelled, ("--labels", "kind"), "has no column 'kind'"),
        (short_table, ("--labels", "species", "--num-clusters", "6"), "must be at most 5"),
        (short_table, ("--ids", "species"), "num_clusters must be at most 5, .* but is 8"),
        (labelled, ("--labels", "species", "--methods", "gmm"), "methods must hold drpm"),
        (labelled, ("--labels", "species", "--dataset", "digits"), "give one of both"),
        (labelled, ("--labels", "species", "--data-dir", "."), "data_dir is for mnist"),
        (labelled, ("--labels", "species", "--likelihood", "pixels"), "values from 0 to 1"),
        (labelled, ("--labels", "species", "--max-size", "9"), "is for sizes_law bounded"),
    ],
)
def test_what_cannot_work_is_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    make: Callable[[Path], Path],
    options: tuple[str, ...],
    message: str,
) -> None:
    out = tmp_path / "out"
    path = make(tmp_path)
    line = error_line(capsys, lambda: run("--data", path, "--out", out, *options))
    assert re.search(message, line), line
    assert not out.exists()


@pytest.mark.parametrize("args", [("--data-dir", "/no/such/file.npz"), ("--dataset", "own")])
def test_a_dataset_that_is_not_asked_for_is_not_trained_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], args: tuple[str, ...]
) -> None:
    line = error_line(capsys, lambda: run("--out", tmp_path / "out", *args))
    assert "give a file of your own with --data" in line or "give it with --data" in line


def test_help_has_the_defaults_for_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = labelled(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["--data", str(path), "--labels", "species", "--help"])
    assert stopped.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "(default: full)" in shown and "(default: learned)" in shown


def test_defaults_depend_on_rows_and_columns() -> None:
    few, many = own_preset((13,), 178, 3), own_preset((13,), 50_000, 3)
    assert few.networks.covariance == "diagonal" and many.networks.covariance == "full"
    assert many.training.batch_size == 2000 and few.training.batch_size == 178
    assert few.training.epochs == 200 and many.training.epochs == 8
    assert own_preset((4,), 150, 3).networks.covariance == "full"
    small, large = (own_preset((1, 8, 8), n, 10, is_pixels=True) for n in (1000, 10_000))
    assert small.pretrainings == ("contrastive",) and large.pretrainings == ("neighbors",)
    assert own_preset((3, 64, 64), 1000, 10).networks.hidden == (500, 500, 2000)


def test_where_the_data_are_is_no_setting_of_the_results(tmp_path: Path) -> None:
    path, out = labelled(tmp_path), tmp_path / "out"
    run("--data", path, "--labels", "species", "--out", out)
    assert "data" not in json.loads((out / "config.json").read_text())
    moved = path.rename(tmp_path / "moved.csv")
    run("--data", moved, "--labels", "species", "--out", out, "--resume")
    assert len(clusters_of(out)) == len(load_iris().data)
