# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""What the options of ``models.vc`` change in the training."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from pyro.nn import PyroModule

from models.data import load_images
from models.vc.affinities import AffinityGuide
from models.vc.baselines import OwnOptimizerVaDETraining, VaDEGuide
from models.vc.categorical import CategoricalVCGuide
from models.vc.train import DRPMVCTraining
from tests.models.vc_runs import SEED, fail, load, run


def test_refitted_priors_go_on_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refits: list[dict[str, Any]] = []
    original = DRPMVCTraining.refit_priors

    def refit(self: DRPMVCTraining, seed: int) -> None:
        (optimizer,) = self.trainer.optimizers
        parameters = list(self.priors.parameters())
        moments = [x for p in parameters for x in optimizer.state[p].values()]
        assert all(moment.any() for moment in moments)
        original(self, seed)
        assert all(a is b for a, b in zip(parameters, self.priors.parameters(), strict=True))
        assert not any(moment.any() for moment in moments)  # the same, but forgotten
        optimized = {id(p) for group in optimizer.param_groups for p in group["params"]}
        assert {id(p) for p in parameters} <= optimized
        values = [p.detach().clone() for p in parameters]
        refits.append({"epoch": self.current_epoch, "priors": values})

    monkeypatch.setattr(DRPMVCTraining, "refit_priors", refit)
    run(tmp_path, "--methods", "drpm", "--sizes-law", "weighted", "--refit-every", "2")
    assert [refit["epoch"] for refit in refits] == [2, 4]
    trained = load(tmp_path / SEED / "drpm.ckpt")["state_dict"]
    names = ("loc", "log_scale", "log_weight")
    for name, at_refit in zip(names, refits[-1]["priors"], strict=True):
        assert not torch.equal(trained[f"priors.{name}"], at_refit)


def test_layers_and_the_scale_of_the_scores_train_if_they_are_to(
    finished_vc_run: Path, tmp_path: Path
) -> None:
    guide = ("--guide", "scores", "--sizes-law", "weighted")
    common = ("--methods", "drpm", *guide, "--pretrained", str(finished_vc_run))
    options = ("--trained-layers", "heads", "--no-learn-score-scale", "--refit-every", "2")
    run(tmp_path / "usual", *common)
    run(tmp_path / "unusual", *common, *options)
    hidden, log_u = "network.encoder.hidden.1.0.0.weight", "objective.guide.log_u"
    pretrained = load(finished_vc_run / SEED / "pretrain.ckpt")["state_dict"][hidden]
    usual, unusual = (
        load(tmp_path / name / SEED / "drpm.ckpt")["state_dict"] for name in ("usual", "unusual")
    )
    assert not torch.equal(usual[hidden], pretrained)
    assert torch.equal(unusual[hidden], pretrained)
    assert usual[log_u].item() != pytest.approx(math.log(10), abs=1e-6)
    assert unusual[log_u].item() == pytest.approx(math.log(10), abs=1e-6)


@pytest.mark.parametrize(
    ("method", "guide"),
    [
        ("drpm", AffinityGuide),
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
    finished_vc_run: Path, tmp_path: Path, schedule: str, last: float
) -> None:
    options = ("--methods", "vade-frozen", "drpm", "--schedule", schedule)
    run(tmp_path, "--pretrained", str(finished_vc_run), *options)
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
        betas.append(float(model.beta))
        return loss

    monkeypatch.setattr(DRPMVCTraining, "training_step", step)
    run(tmp_path, "--methods", "drpm", "--beta", "2", "--beta-steps", "4")
    assert betas[:5] == pytest.approx([0.2, 0.65, 1.1, 1.55, 2.0])
    assert betas[5:] == [2.0] * (len(betas) - 5)


def test_vade_decays_its_learning_rate(finished_vc_run: Path) -> None:
    training = OwnOptimizerVaDETraining.__new__(OwnOptimizerVaDETraining)
    torch.nn.Module.__init__(training)
    training.weight = torch.nn.Parameter(torch.zeros(1))
    (optimizer,), (schedule,) = training.configure_optimizers()
    for _ in range(20):
        optimizer.step()
        schedule.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(2e-3 * 0.95**2)


def test_weights_stay_equal_if_they_are_to(finished_vc_run: Path, tmp_path: Path) -> None:
    options = ("--methods", "categorical", "drpm", "--no-learn-weights")
    run(tmp_path, "--pretrained", str(finished_vc_run), *options)
    weights = load(tmp_path / SEED / "categorical.ckpt")["state_dict"]["priors.log_weight"]
    learned = load(finished_vc_run / SEED / "categorical.ckpt")["state_dict"]["priors.log_weight"]
    assert (weights == 0).all() and (learned != 0).all()


@pytest.mark.parametrize("start", ["k-means", "mixture"])
def test_priors_start_from_other_clusterings(
    finished_vc_run: Path, tmp_path: Path, start: str
) -> None:
    run(tmp_path, "--pretrained", str(finished_vc_run), "--methods", "drpm", "--priors", start)
    usual, other = (
        load(out / SEED / "drpm.ckpt")["state_dict"]["priors.loc"]
        for out in (finished_vc_run, tmp_path)
    )
    assert not torch.equal(usual, other)


def test_every_law_of_the_sizes_trains(finished_vc_run: Path, tmp_path: Path) -> None:
    common = ("--methods", "drpm", "--pretrained", str(finished_vc_run))
    run(tmp_path / "spread", *common, "--sizes-law", "learned")
    state = load(tmp_path / "spread" / SEED / "drpm.ckpt")["state_dict"]
    assert state["objective.model.size_prior.log_concentration"] != 0
    run(tmp_path / "near", *common, "--sizes-law", "fixed", "--size-spread", "0.1")
    near, equal = (
        load(out / SEED / "drpm.ckpt")["state_dict"]["priors.loc"]
        for out in (tmp_path / "near", finished_vc_run)
    )
    assert not torch.equal(near, equal)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--num-particles", "1"), "num_particles must be at least 2, but is 1"),
        (("--guide", "scores", "--size-spread", "0"), "size_spread must be positive with guide"),
        (("--size-spread", "-1"), "size_spread must not be negative, but is -1.0"),
    ],
)
def test_settings_that_cannot_work_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], message: str
) -> None:
    assert message in fail(capsys, tmp_path, *options)
