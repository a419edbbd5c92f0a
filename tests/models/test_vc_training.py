# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Training stages of DRPM-VC and its baselines, resumed and not, through the command line."""

from __future__ import annotations

import csv
import gzip
import math
import os
import shutil
import signal
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from pyro.nn import PyroModule

from models.data import load_images
from models.vc import cli, experiment
from models.vc.baselines import OwnOptimizerVaDETraining, VaDEGuide
from models.vc.categorical import CategoricalVCGuide
from models.vc.config import PRESETS, Method
from models.vc.directory import TABLE
from models.vc.evaluate import Scores
from models.vc.information import InformationTraining
from models.vc.model import DRPMVCGuide
from models.vc.neighbors import NeighborPretraining
from models.vc.pretrain import ContrastivePretraining
from models.vc.train import DRPMVCTraining, VariationalTraining
from tests.models.training_checks import (
    Killed,
    assert_help_shows,
    error_line,
    kill_in,
    read_csv,
    read_curves,
)

TINY = (
    *(
        "--pretrain-epochs",
        "4",
        "--epochs",
        "5",
        "--num-partitions",
        "3",
        "--checkpoint-every",
        "2",
    ),
    *("--hidden", "16", "12", "--latent-dim", "3", "--batch-size", "500", "--device", "cpu"),
)
NEIGHBORS = ("--neighbor-epochs", "3", "--cluster-epochs", "3")
STAGES = ("pretrain", "vade", "vade-frozen", "vade-augmented", "categorical", "drpm")
SEED = Path("contrastive/seed-0")


def run(out: Path, *args: str) -> None:
    cli.main([*TINY, "--out", str(out), *args])


def results(out: Path) -> tuple[str, str]:
    """Everything a run measured: scores and learning curves, digit by digit."""
    return (out / TABLE).read_text(), (out / SEED / "curves.csv").read_text()


def load(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never killed. Tests that change it copy it."""
    out = tmp_path_factory.mktemp("runs") / "finished"
    run(out)
    return out


def test_a_run_leaves_its_files(finished: Path) -> None:
    with (finished / TABLE).open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(row["method"] for row in rows) == get_args(Method)
    assert all(0 < float(row["acc"]) <= 1 for row in rows)
    directory = finished / SEED
    files = {str(path.relative_to(directory)) for path in directory.rglob("*.*")}
    expected = {f"{stage}.ckpt" for stage in STAGES} | {
        f"{name}.png" for name in ("partition", "samples", "curves")
    }
    assert expected <= files
    for stage in STAGES:
        assert list((finished / SEED / "logs" / stage).glob("events.out.tfevents*"))


def test_the_frozen_layers_do_not_change(finished: Path) -> None:
    weights = {
        stage: {
            name: value
            for name, value in load(finished / SEED / f"{stage}.ckpt")["state_dict"].items()
            if name.startswith("network.encoder.")
        }
        for stage in STAGES
    }
    hidden = [name for name in weights["pretrain"] if ".hidden." in name]
    heads = [name for name in weights["pretrain"] if ".heads." in name]
    assert hidden and heads
    frozen = weights["vade-frozen"]
    assert all(torch.equal(weights["pretrain"][n], frozen[n]) for n in hidden)
    assert not any(torch.equal(weights["pretrain"][n], frozen[n]) for n in heads)
    for stage in ("vade", "vade-augmented", "categorical", "drpm"):
        trained = weights[stage]
        assert not any(torch.equal(weights["pretrain"][n], trained[n]) for n in hidden + heads)


KILLS: list[tuple[str, type, int]] = [
    ("pretrain", ContrastivePretraining, 0),  # before its first checkpoint
    ("pretrain", ContrastivePretraining, 7),
    ("vade", VariationalTraining, 8),
    ("vade-frozen", VariationalTraining, 10),
    ("vade-augmented", VariationalTraining, 12),
    ("categorical", VariationalTraining, 13),
    ("drpm", DRPMVCTraining, 14),
]


def test_a_run_killed_in_every_stage_ends_with_the_same_results(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resume: tuple[str, ...] = ()
    for stage, training, step in KILLS:
        with monkeypatch.context() as patch, pytest.raises(Killed):
            kill_in(patch, training, stage, step)
            run(tmp_path, *resume)
        assert not (tmp_path / TABLE).exists()
        resume = ("--resume",)
    run(tmp_path, *resume)
    assert results(tmp_path) == results(finished)


SUICIDE = """
import os, signal, sys
from models.vc import cli
from models.vc.train import DRPMVCTraining
training_step = DRPMVCTraining.training_step

def die(self, *args):
    if self.global_step == 8:
        os.kill(os.getpid(), signal.SIGKILL)
    return training_step(self, *args)

DRPMVCTraining.training_step = die
cli.main(sys.argv[1:])
"""


def test_a_pretraining_with_neighbors_killed_in_both_stages_ends_with_the_same_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("--pretrainings", "neighbors", "--methods", "latent-gmm", *NEIGHBORS)
    resume: tuple[str, ...] = ()
    for stage, training, step in (
        ("pretrain", NeighborPretraining, 7),
        ("pretrain-clusters", InformationTraining, 0),
        ("pretrain-clusters", InformationTraining, 7),
    ):
        with monkeypatch.context() as patch, pytest.raises(Killed):
            kill_in(patch, training, stage, step)
            run(tmp_path / "killed", *arguments, *resume)
        resume = ("--resume",)
    run(tmp_path / "killed", *arguments, *resume)
    run(tmp_path / "whole", *arguments)
    seed = Path("neighbors/seed-0")
    curves = read_curves(tmp_path / "whole" / seed)
    assert list(curves) == ["pretrain", "pretrain-clusters"]
    assert read_curves(tmp_path / "killed" / seed) == curves
    assert read_csv(tmp_path / "killed" / TABLE) == read_csv(tmp_path / "whole" / TABLE)


def test_a_run_survives_sigkill(finished: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", SUICIDE, *TINY, "--out", str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    killed = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert load(tmp_path / SEED / "drpm.ckpt")["epoch"] == 1
    run(tmp_path, "--resume")
    assert results(tmp_path) == results(finished)


def test_refitted_priors_go_on_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refits: list[dict[str, Any]] = []
    original = DRPMVCTraining.refit_priors

    def refit(self: DRPMVCTraining, seed: int) -> None:
        (optimizer,) = self.trainer.optimizers
        parameters = list(self.priors.parameters())
        assert all(p in optimizer.state for p in parameters)
        original(self, seed)
        assert all(a is b for a, b in zip(parameters, self.priors.parameters(), strict=True))
        assert not any(p in optimizer.state for p in parameters)
        optimized = {id(p) for group in optimizer.param_groups for p in group["params"]}
        assert {id(p) for p in parameters} <= optimized
        values = [p.detach().clone() for p in parameters]
        refits.append({"epoch": self.current_epoch, "priors": values})

    monkeypatch.setattr(DRPMVCTraining, "refit_priors", refit)
    run(tmp_path, "--refit-every", "2")
    assert [refit["epoch"] for refit in refits] == [2, 4]
    trained = load(tmp_path / SEED / "drpm.ckpt")["state_dict"]
    names = ("loc", "log_scale", "log_weight")
    for name, at_refit in zip(names, refits[-1]["priors"], strict=True):
        assert not torch.equal(trained[f"priors.{name}"], at_refit)


def test_layers_and_the_scale_of_the_scores_train_if_they_are_to(
    finished: Path, tmp_path: Path
) -> None:
    options = ("--trained-layers", "heads", "--no-learn-score-scale", "--refit-every", "2")
    run(tmp_path, "--methods", "drpm", "--pretrained", str(finished), *options)
    hidden, log_u = "network.encoder.hidden.1.0.0.weight", "objective.guide.log_u"
    pretrained = load(finished / SEED / "pretrain.ckpt")["state_dict"][hidden]
    usual = load(finished / SEED / "drpm.ckpt")["state_dict"]
    unusual = load(tmp_path / SEED / "drpm.ckpt")["state_dict"]
    assert not torch.equal(usual[hidden], pretrained)
    assert torch.equal(unusual[hidden], pretrained)
    assert usual[log_u].item() != pytest.approx(math.log(10), abs=1e-6)
    assert unusual[log_u].item() == pytest.approx(math.log(10), abs=1e-6)


@pytest.mark.parametrize(
    ("method", "guide"),
    [
        ("drpm", DRPMVCGuide),
        ("categorical", CategoricalVCGuide),
        ("vade-augmented", VaDEGuide),
    ],
)
def test_images_are_partitioned_before_they_are_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, guide: type[PyroModule]
) -> None:
    batches: list[tuple[torch.Tensor, ...]] = []
    original = guide.forward

    def forward(self: PyroModule, *batch: torch.Tensor) -> None:
        batches.append(batch)
        original(self, *batch)

    monkeypatch.setattr(guide, "forward", forward)
    run(tmp_path, "--methods", method)

    def pictures(images: torch.Tensor) -> set[tuple[float, ...]]:
        return {tuple(image.flatten().tolist()) for image in images}

    known = pictures(load_images("digits").train_images)
    for inputs, images, originals in batches:
        assert inputs is images
        assert pictures(originals) <= known
        assert not pictures(images) & known


@pytest.mark.parametrize(("schedule", "last"), [("constant", 1e-3), ("cosine", 0.0)])
def test_the_learning_rate_falls_if_it_is_to(
    finished: Path, tmp_path: Path, schedule: str, last: float
) -> None:
    options = ("--methods", "vade-frozen", "drpm", "--schedule", schedule)
    run(tmp_path, "--pretrained", str(finished), *options)
    for method in ("vade-frozen", "drpm"):
        (state,) = load(tmp_path / SEED / f"{method}.ckpt")["optimizer_states"]
        assert state["param_groups"][0]["lr"] == pytest.approx(last, abs=1e-9)


def test_beta_grows_in_model_and_guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    betas: list[float] = []
    original = DRPMVCTraining.training_step

    def step(self: DRPMVCTraining, *args: Any) -> torch.Tensor:
        loss = original(self, *args)
        model, guide = self.parts
        assert model.beta == guide.beta
        betas.append(model.beta)
        return loss

    monkeypatch.setattr(DRPMVCTraining, "training_step", step)
    run(tmp_path, "--methods", "drpm", "--beta", "2", "--beta-steps", "4")
    assert betas[:5] == pytest.approx([0.2, 0.65, 1.1, 1.55, 2.0])
    assert betas[5:] == [2.0] * (len(betas) - 5)


def test_a_new_run_replaces_an_old_one(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "old"
    shutil.copytree(finished, out)
    (out / "contrastive" / "seed-7").mkdir()
    run(out, "--seed", "1", "--beta", "0.5")
    assert [path.name for path in (out / "contrastive").iterdir()] == ["seed-1"]
    assert "digits,default,contrastive,drpm,1,5," in (out / TABLE).read_text()


def test_several_seeds_and_pretrainings_give_means_and_deviations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def scores(self: experiment.Experiment) -> dict[Method, Scores]:
        self.curves = {"drpm": {"loss": [1.0]}}
        contrastive = self.job.pretraining == "contrastive"
        acc = {3: 0.75, 4: 0.85}[self.job.seed] if contrastive else 0.5
        return {"drpm": Scores(0.5, 0.25, acc)}

    monkeypatch.setattr(experiment.Experiment, "run", scores)
    both = ("--pretrainings", "contrastive", "reconstruction", "--methods", "drpm")
    run(tmp_path, "--seed", "3", "--seeds", "2", *both)
    first, second = capsys.readouterr().out.split("reconstruction pretraining")
    assert "contrastive pretraining" in first and "0.800 ± 0.071" in first
    assert second.count("0.500 ± 0.000") == 2  # NMI and ACC
    assert (tmp_path / TABLE).read_text().splitlines() == [
        "dataset,preset,pretraining,method,seed,epochs,nmi,ari,acc",
        "digits,default,contrastive,drpm,3,5,0.5,0.25,0.75",
        "digits,default,reconstruction,drpm,3,5,0.5,0.25,0.5",
        "digits,default,contrastive,drpm,4,5,0.5,0.25,0.85",
        "digits,default,reconstruction,drpm,4,5,0.5,0.25,0.5",
    ]


def test_pretrained_weights_of_another_run(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "drpm"
    run(out, "--pretrained", str(finished), "--methods", "drpm")
    assert {path.name for path in (out / SEED).glob("*.ckpt")} == {"pretrain.ckpt", "drpm.ckpt"}
    of_drpm = [row for row in read_csv(finished / TABLE) if row["method"] == "drpm"]
    assert read_csv(out / TABLE) == of_drpm  # digit by digit
    capsys.readouterr()
    from_there = ("--pretrained", str(finished))
    other = fail(capsys, tmp_path / "other", *from_there, "--input-noise", "0.5")
    assert "input_noise = 0.2, not 0.5" in other
    assert "must be another directory than out" in fail(capsys, finished, *from_there)
    missing = fail(capsys, tmp_path / "missing", *from_there, "--seed", "5")
    assert "seed-5/pretrain.ckpt is missing" in missing


def test_the_preset_of_the_paper(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--dataset", "mnist", "--preset", "paper", "--help"])
    words = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for default in ("sampled", "relaxed", "1024.0"):
        assert f"(default: {default})" in words


def write_idx(path: Path, array: np.ndarray) -> None:
    header = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes()))


@pytest.mark.parametrize(
    ("dataset", "pretraining"),
    [
        ("mnist", "contrastive"),
        ("mnist", "neighbors"),
        ("mnist", "reconstruction"),
        ("fashion-mnist", "contrastive"),
    ],
)
def test_one_epoch_of_images_in_files(tmp_path: Path, dataset: str, pretraining: str) -> None:
    rng = np.random.default_rng(0)
    for split in ("train", "t10k"):
        write_idx(tmp_path / f"{split}-images-idx3-ubyte.gz", rng.integers(0, 256, (64, 28, 28)))
        write_idx(tmp_path / f"{split}-labels-idx1-ubyte.gz", rng.integers(0, 10, 64))
    arguments = ("--dataset", dataset, "--data-dir", str(tmp_path), "--pretrainings", pretraining)
    stages = ("pretrain", "neighbor", "cluster", "reconstruction")
    once = ("--epochs", "1", *(x for stage in stages for x in (f"--{stage}-epochs", "1")))
    run(tmp_path / "out", *arguments, *once)
    assert (tmp_path / "out" / TABLE).is_file()


def fail(capsys: pytest.CaptureFixture[str], out: Path, *args: str) -> str:
    return error_line(capsys, lambda: run(out, *args))


def test_a_damaged_checkpoint_is_one_line(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "damaged"
    shutil.copytree(finished, out)
    path = out / SEED / "vade.ckpt"
    path.write_bytes(path.read_bytes()[:1000])
    assert str(path) in fail(capsys, out, "--resume")


def test_a_checkpoint_of_other_networks_is_one_line(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "swapped"
    shutil.copytree(finished, out)
    shutil.copy(out / SEED / "pretrain.ckpt", out / SEED / "vade.ckpt")
    assert "vade.ckpt" in fail(capsys, out, "--resume")


def test_what_cannot_be_resumed_is_one_line(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "there is no run in" in fail(capsys, tmp_path / "none", "--resume")
    assert "beta = 1.0, not 0.5" in fail(capsys, finished, "--resume", "--beta", "0.5")
    out = tmp_path / "gap"
    shutil.copytree(finished, out)
    (out / SEED / "pretrain.ckpt").unlink()
    assert "pretrain.ckpt is missing" in fail(capsys, out, "--resume")
    (out / "config.json").write_text("{")
    assert "config.json cannot be read" in fail(capsys, out, "--resume")


def test_bad_arguments_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("precious")
    assert "other files than a run" in fail(capsys, tmp_path)
    assert "must be a directory" in fail(capsys, tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "precious"
    out = tmp_path / "out"
    assert "epochs must be positive, but is 0" in fail(capsys, out, "--epochs", "0")
    assert "gamma must not be negative, but is -1.0" in fail(capsys, out, "--gamma", "-1")
    missing = ("--dataset", "mnist", "--data-dir", str(tmp_path / "nowhere"))
    assert "nowhere" in fail(capsys, out, *missing)
    assert not out.exists()


def test_the_help_shows_the_defaults_of_the_dataset(capsys: pytest.CaptureFixture[str]) -> None:
    defaults: dict[str, object] = {
        p.dataset: p.epochs for p in PRESETS.values() if p.preset == "default"
    }
    assert_help_shows(capsys, cli.main, "Epochs of DRPM-VC and of all VaDEs.", defaults)


def test_vade_decays_its_learning_rate(finished: Path) -> None:
    training = OwnOptimizerVaDETraining.__new__(OwnOptimizerVaDETraining)
    torch.nn.Module.__init__(training)
    training.weight = torch.nn.Parameter(torch.zeros(1))
    (optimizer,), (schedule,) = training.configure_optimizers()
    for _ in range(20):
        optimizer.step()
        schedule.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(2e-3 * 0.95**2)
