# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Training stages of DRPM-VC and its baselines, resumed and not, through the command line."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import torch

from models.runs.curves import Curves
from models.vc import cli
from models.vc.config import Config, Method
from models.vc.data import ClusterData
from models.vc.directory import TABLE
from models.vc.embedding import NeighborPretraining
from models.vc.evaluate import Scores
from models.vc.experiment import Job, Result
from models.vc.information import InformationTraining
from models.vc.pretrain import ContrastivePretraining
from models.vc.spectral import SpectralPretraining
from models.vc.train import DRPMVCTraining, VariationalTraining
from tests.models.image_files import write_images
from tests.models.training_checks import read_csv, read_curves, run_killed
from tests.models.vc_runs import NEIGHBORS, SEED, STAGES, TINY, fail, load, results, run


def test_a_run_leaves_its_files(finished_vc_run: Path) -> None:
    with (finished_vc_run / TABLE).open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(row["method"] for row in rows) == get_args(Method)
    assert all(0 < float(row["acc"]) <= 1 for row in rows)
    directory = finished_vc_run / SEED
    files = {str(path.relative_to(directory)) for path in directory.rglob("*.*")}
    expected = {f"{stage}.ckpt" for stage in STAGES} | {
        f"{name}.png" for name in ("partition", "samples", "curves")
    }
    assert expected <= files
    for stage in STAGES:
        assert list((finished_vc_run / SEED / "logs" / stage).glob("events.out.tfevents*"))


def test_the_frozen_layers_do_not_change(finished_vc_run: Path) -> None:
    weights = {
        stage: {
            name: value
            for name, value in load(finished_vc_run / SEED / f"{stage}.ckpt")["state_dict"].items()
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


KILLS: list[tuple[type, str, int]] = [
    (ContrastivePretraining, "pretrain", 0),  # before its first checkpoint
    (ContrastivePretraining, "pretrain", 7),
    (VariationalTraining, "vade", 8),
    (VariationalTraining, "vade-frozen", 10),
    (VariationalTraining, "vade-augmented", 12),
    (VariationalTraining, "categorical", 13),
    (DRPMVCTraining, "drpm", 14),
]


def test_a_run_killed_in_every_stage_ends_with_the_same_results(
    finished_vc_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_killed(monkeypatch, lambda *args: run(tmp_path, *args), KILLS, tmp_path / TABLE)
    assert results(tmp_path) == results(finished_vc_run)


SUICIDE = """
import os, signal, sys
from models.vc import cli
from models.vc.spectral import SpectralPretraining
from models.vc.train import DRPMVCTraining
training_step = DRPMVCTraining.training_step

def die(self, *args):
    if self.global_step == 8:
        os.kill(os.getpid(), signal.SIGKILL)
    return training_step(self, *args)

DRPMVCTraining.training_step = die
cli.main(sys.argv[1:])
"""


NEIGHBOR_KILLS: dict[str, list[tuple[type, str, int]]] = {
    "neighbors": [
        (NeighborPretraining, "pretrain", 7),
        (InformationTraining, "pretrain-clusters", 0),
        (InformationTraining, "pretrain-clusters", 7),
    ],
    "spectral": [(SpectralPretraining, "pretrain", 0), (SpectralPretraining, "pretrain", 7)],
}


@pytest.mark.parametrize("pretraining", NEIGHBOR_KILLS)
def test_a_pretraining_with_neighbors_killed_in_every_stage_ends_with_the_same_results(
    pretraining: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kills = NEIGHBOR_KILLS[pretraining]
    arguments = ("--pretrainings", pretraining, "--methods", "latent-gmm", *NEIGHBORS)
    killed = tmp_path / "killed"
    run_killed(monkeypatch, lambda *args: run(killed, *arguments, *args), kills, killed / TABLE)
    run(tmp_path / "whole", *arguments)
    seed = Path(pretraining) / "seed-0"
    curves = read_curves(tmp_path / "whole" / seed)
    assert list(curves) == list(dict.fromkeys(stage for _, stage, _ in kills))
    assert read_curves(tmp_path / "killed" / seed) == curves
    assert read_csv(tmp_path / "killed" / TABLE) == read_csv(tmp_path / "whole" / TABLE)


def test_a_run_survives_sigkill(finished_vc_run: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", SUICIDE, *TINY, "--out", str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    killed = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert load(tmp_path / SEED / "drpm.ckpt")["epoch"] == 1
    run(tmp_path, "--resume")
    assert results(tmp_path) == results(finished_vc_run)


def test_a_new_run_replaces_an_old_one(finished_vc_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "old"
    shutil.copytree(finished_vc_run, out)
    (out / "contrastive" / "seed-7").mkdir()
    run(out, "--seed", "1", "--beta", "0.5")
    assert [path.name for path in (out / "contrastive").iterdir()] == ["seed-1"]
    assert "digits,default,contrastive,drpm,1,5," in (out / TABLE).read_text()


def test_several_seeds_and_pretrainings_give_means_and_deviations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def scores(config: Config, job: Job, data: ClusterData) -> tuple[list[Result], Curves]:
        contrastive = job.pretraining == "contrastive"
        acc = {3: 0.75, 4: 0.85}[job.seed] if contrastive else 0.5
        return [Result(job, "drpm", Scores(0.5, 0.25, acc), loss=1.0)], {"drpm": {"loss": [1.0]}}

    monkeypatch.setattr(cli, "run_job", scores)
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
    finished_vc_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "drpm"
    run(out, "--pretrained", str(finished_vc_run), "--methods", "drpm")
    assert {path.name for path in (out / SEED).glob("*.ckpt")} == {"pretrain.ckpt", "drpm.ckpt"}
    of_drpm = [row for row in read_csv(finished_vc_run / TABLE) if row["method"] == "drpm"]
    assert read_csv(out / TABLE) == of_drpm  # digit by digit
    capsys.readouterr()
    from_there = ("--pretrained", str(finished_vc_run))
    other = fail(capsys, tmp_path / "other", *from_there, "--input-noise", "0.5")
    assert "input_noise = 0.2, not 0.5" in other
    assert "must be another directory than out" in fail(capsys, finished_vc_run, *from_there)
    missing = fail(capsys, tmp_path / "missing", *from_there, "--seed", "5")
    assert "seed-5/pretrain.ckpt is missing" in missing


@pytest.mark.parametrize(
    ("dataset", "pretraining"),
    [
        ("mnist", "contrastive"),
        ("mnist", "neighbors"),
        ("mnist", "reconstruction"),
        ("fashion-mnist", "contrastive"),
        ("fashion-mnist", "spectral"),
    ],
)
def test_one_epoch_of_images_in_files(tmp_path: Path, dataset: str, pretraining: str) -> None:
    write_images(tmp_path)
    arguments = ("--dataset", dataset, "--data-dir", str(tmp_path), "--pretrainings", pretraining)
    stages = ("pretrain", "neighbor", "cluster", "spectral", "reconstruction")
    once = ("--epochs", "1", *(x for stage in stages for x in (f"--{stage}-epochs", "1")))
    run(tmp_path / "out", *arguments, *once)
    assert (tmp_path / "out" / TABLE).is_file()
