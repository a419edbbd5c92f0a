# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Trainings of DRPM-MTL and its baseline, and their evaluation."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pyro
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models.data import MultiTaskData, load_multi_task
from models.mtl import cli
from models.mtl.config import PRESETS, Config, Method
from models.mtl.evaluate import score
from models.mtl.experiment import Job, run_job
from models.mtl.shares import PartitionKind
from models.mtl.train import TaskTraining
from models.training.batches import ShuffledBatches
from models.training.stages import Stage
from tests.models.celeba_files import TEST, write_celeba
from tests.models.scripts import MTL
from tests.models.training_checks import CPU, read_csv

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def digits() -> MultiTaskData:
    return load_multi_task("multi-digits")


def test_a_run_leaves_its_table(finished_mtl_run: Path) -> None:
    header = "dataset,method,alpha,seed,epochs,accuracy_left,accuracy_right,size_left,size_right"
    assert (finished_mtl_run / MTL.table).read_text().splitlines()[0] == header
    uls, drpm = MTL.rows(finished_mtl_run)
    for row, method in ((uls, "uls"), (drpm, "drpm")):
        run_of = [row[name] for name in ("dataset", "method", "alpha", "seed", "epochs")]
        assert run_of == ["multi-digits", method, "0.3", "0", "3"]
        assert all(0 <= float(row[f"accuracy_{side}"]) <= 1 for side in ("left", "right"))
    assert uls["size_left"] == uls["size_right"] == "8.0"
    assert float(drpm["size_left"]) + float(drpm["size_right"]) == pytest.approx(8)


def losses(training: TaskTraining, data: MultiTaskData) -> Tensor:
    """Negative log-likelihoods of the training images with dropout, one for each task."""
    training.train()
    with torch.no_grad():
        images = data.normalize(data.train_images)
        predicted = training.model.predict(images, training.shares.noiseless(images))
        return F.nll_loss(predicted.mT, data.train_labels, reduction="none").mean(0)


@pytest.mark.parametrize(
    ("method", "partition"),
    [("uls", "noiseless"), ("drpm", "noiseless"), ("drpm", "relaxed"), ("drpm", "sample")],
)
def test_training_lowers_the_losses_of_both_tasks(
    digits: MultiTaskData, tmp_path: Path, method: Method, partition: PartitionKind
) -> None:
    config = dataclasses.replace(
        PRESETS["multi-digits"], epochs=8, learning_rate=3e-3, partition=partition
    )
    pyro.set_rng_seed(0)
    with pyro.settings.context(module_local_params=True):
        training = TaskTraining(config, method, digits)
        before = losses(training, digits)
        stage = Stage(method, tmp_path, seed=0, epochs=config.epochs, hardware=CPU)
        batches = ShuffledBatches((digits.train_images, digits.train_labels), config.batch_size)
        curve = stage.fit(training, batches)["loss"]
    torch.testing.assert_close(before, torch.full((2,), math.log(10)), atol=0.15, rtol=0)
    assert (losses(training, digits) < 0.9 * before).all()
    assert curve[-1] < 0.9 * curve[0]
    assert training.shares.temperature == pytest.approx(0.5, abs=0.01)


def test_predictions_are_counted_over_all_test_images(digits: MultiTaskData) -> None:
    """The accuracies of a batch of all images, by hand."""
    pyro.set_rng_seed(0)
    with pyro.settings.context(module_local_params=True):
        training = TaskTraining(PRESETS["multi-digits"], "drpm", digits)
        many = dataclasses.replace(
            digits,  # more than a batch
            test_images=digits.test_images.repeat(4, 1, 1, 1)[:1100],
            test_labels=digits.test_labels.repeat(4, 1)[:1100],
        )
        scores = score(training, many)
        images = many.normalize(many.test_images)
        with torch.no_grad():
            shares = training.shares.noiseless(images)
            guesses = training.model.predict(images, shares).argmax(-1)
    right = (guesses == many.test_labels).double().mean(0)
    assert scores.accuracies == pytest.approx(right.tolist())
    assert scores.sizes == pytest.approx(shares.double().sum(-1).mean(0).tolist())
    assert scores.mean_accuracy == pytest.approx(right.mean().item())


def test_celeba_has_a_row_for_each_attribute(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    write_celeba(data_dir)
    out = tmp_path / "out"
    sizes = ("--num-tasks", "3", "--num-features", "6", "--epochs", "1", "--batch-size", "4")
    cli.main(
        ["--dataset", "celeba", "--data-dir", str(data_dir), *sizes]
        + ["--out", str(out), "--device", "cpu"]
    )
    rows = read_csv(out / "table6.csv")
    assert list(rows[0]) == [
        *("dataset", "method", "num_tasks", "seed", "epochs", "task", "accuracy", "size")
    ]
    assert [(row["method"], row["task"]) for row in rows] == [
        (method, f"Attribute_{task}") for method in MTL.methods for task in range(3)
    ]
    for row in rows:
        assert float(row["accuracy"]) in [k / len(TEST) for k in range(len(TEST) + 1)]
        assert row["method"] == "drpm" or row["size"] == "6.0"
    assert sum(float(row["size"]) for row in rows[3:]) == pytest.approx(6)


def test_the_penalty_of_celeba_makes_sizes_more_equal(
    digits: MultiTaskData, tmp_path: Path
) -> None:
    """In training, not only in the gradient of one step."""

    def imbalance(size_weight: float) -> float:
        config = dataclasses.replace(
            PRESETS["multi-digits"],
            out=tmp_path / str(size_weight),
            noise_ratios=(0.8,),
            epochs=8,
            size_weight=size_weight,
        )
        with pyro.settings.context(module_local_params=True):
            result, _ = run_job(config, Job("drpm", 0.8, 0))
        left, right = result.scores.sizes
        return abs(left - right)

    assert imbalance(1.0) < 0.7 * imbalance(0.0)


def test_presets_of_the_paper() -> None:
    mnist, celeba = PRESETS["multi-mnist"], PRESETS["celeba"]
    assert (mnist.epochs, mnist.batch_size, mnist.learning_rate) == (200, 256, 5e-4)
    assert (celeba.epochs, celeba.batch_size, celeba.learning_rate) == (50, 128, 1e-4)
    assert celeba.size_weight == 0.015 and Config(out=Path()).size_weight == 0
