# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Trainings and clusterings that fail: one line that names the stage and what to change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

import models.vae.cli
import models.vc.cli
import models.vc.presets
from models.training.batches import ShuffledBatches
from models.training.failures import StageError, require_finite, stage_errors
from models.training.stages import Stage
from models.vc.priors import ClusterPriors
from tests.models.scripts import MTL
from tests.models.test_stages import EPOCHS, ROWS, NoisyRegression
from tests.models.training_checks import CPU, error_line
from tests.models.vc_runs import NEIGHBORS, TINY

SHAPES_VAE = ("--image-size", "16", "--width", "4", "--num-features", "8", "--n-shared", "3")
TINY_VAE = (*SHAPES_VAE, "--epochs", "2", "--steps-per-epoch", "3", "--batch-size", "8")
FEW_IMAGES = 1257  # of the digits, to train on

pytestmark = pytest.mark.usefixtures("one_thread")


class Diverging(NoisyRegression):
    """Computes a loss or a gradient that is not finite in the first step of the third epoch."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def training_step(self, batch: tuple[Tensor], batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        if self.current_epoch < 2 or batch_idx:
            return loss
        if self.kind == "error":
            raise ValueError("expected scores to be finite, but got:\ntensor([nan, nan])")
        if self.kind == "loss":
            # The weights stay as they are.
            self.log("bound", torch.tensor(torch.nan), on_step=False, on_epoch=True, batch_size=1)
            return loss
        # The derivative of a square root at 0 is infinite, and 0 times that is nan.
        return loss + (0 * self.weight).sum().sqrt()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("error", "expected scores to be finite, but got"),
        ("loss", "the metrics of epoch 3 are not finite"),
        ("weights", "the weights at the end of epoch 3 are not finite"),
    ],
)
def test_a_diverged_training_ends_in_its_epoch_and_keeps_the_last_good_checkpoint(
    tmp_path: Path, kind: str, reason: str
) -> None:
    stage = Stage("fit", tmp_path, 0, EPOCHS, hardware=CPU, remedy="another rate may help")
    # All rows at once: a later step of the epoch would make the loss nan as well.
    with pytest.raises(StageError) as error:
        stage.fit(Diverging(kind), ShuffledBatches((ROWS,), len(ROWS)))
    assert str(error.value) == f"stage fit: {reason}; another rate may help"
    checkpoint = torch.load(stage.checkpoint, weights_only=True)
    assert checkpoint["epoch"] == 1
    assert checkpoint["state_dict"]["weight"].isfinite().all()


def test_other_errors_are_no_failures_of_settings() -> None:
    with pytest.raises(KeyError, match="gone"), stage_errors("fit", "nothing helps"):
        raise KeyError("gone")


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_one_number_out_of_many_is_enough(value: float) -> None:
    values = torch.zeros(3, 4)
    require_finite("zeros", values)
    values[1, 2] = value
    with pytest.raises(ValueError, match="zeros are not finite"):
        require_finite("zeros", values)


def test_priors_need_a_point_in_each_cluster() -> None:
    with pytest.raises(ValueError, match="cluster 1 of 3 has no point"):
        ClusterPriors(3, 2).fit_to(torch.eye(2), torch.eye(3)[[0, 2]])


def failure(capsys: pytest.CaptureFixture[str], run: Callable[[], None]) -> str:
    """Run, expect exit code 2 and nothing but a line of error after the progress bars."""
    with pytest.raises(SystemExit) as exit_info:
        run()
    assert exit_info.value.code == 2
    *bars, line = capsys.readouterr().err.splitlines()
    assert all("step" in bar for bar in bars if bar)
    assert line.startswith("error: stage ")
    return line


def test_a_training_of_vc_diverges(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = (*TINY, "--methods", "drpm", "--learning-rate", "1000")
    line = failure(capsys, lambda: models.vc.cli.main([*arguments, "--out", str(tmp_path)]))
    assert line.startswith("error: stage drpm: ")
    assert "a smaller --learning-rate than 1000.0" in line


@pytest.mark.parametrize("pretraining", ["contrastive", "neighbors", "spectral", "reconstruction"])
def test_a_pretraining_diverges(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], pretraining: str
) -> None:
    arguments = (*TINY, *NEIGHBORS, "--reconstruction-epochs", "3", "--pretrainings", pretraining)
    rate = ("--methods", "gmm", "--pretrain-learning-rate", "1e30", "--out", str(tmp_path))
    line = failure(capsys, lambda: models.vc.cli.main([*arguments, *rate]))
    assert line.startswith("error: stage pretrain: ")
    assert line.endswith("; a smaller --pretrain-learning-rate than 1e+30 may help")


def test_a_training_of_vae_diverges(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = (*TINY_VAE, "--learning-rate", "1000", "--device", "cpu", "--out", str(tmp_path))
    line = failure(capsys, lambda: models.vae.cli.main([*arguments]))
    assert line.startswith("error: stage label: ")
    assert line.endswith("; a smaller --learning-rate than 1000.0 may help")


def test_a_training_of_mtl_diverges(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rate = ("--methods", "drpm", "--learning-rate", "1e30")
    line = failure(capsys, lambda: MTL.run(tmp_path, *rate))
    assert line.startswith("error: stage drpm: ")
    assert line.endswith("; a smaller --learning-rate than 1e+30 may help")


def test_an_empty_cluster_names_the_number_of_clusters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of an encoder that gives all images one of two codes."""

    def two_codes(encoder: object, images: Tensor) -> Tensor:
        return (torch.arange(len(images)) % 2).unsqueeze(-1).expand(-1, 3).float()

    monkeypatch.setattr("models.vc.experiment.encode", two_codes)
    arguments = (*TINY, "--methods", "drpm", "--priors", "k-means", "--out", str(tmp_path))
    with pytest.warns(match="distinct clusters"):
        line = failure(capsys, lambda: models.vc.cli.main([*arguments]))
    assert line.startswith("error: stage priors: cluster 2 of 10 has no point; ")
    assert "fewer --num-clusters than 10" in line


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--num-clusters", "2000"), f"num_clusters must be at most {FEW_IMAGES}"),
        (
            ("--pretrainings", "neighbors", "--num-neighbors", str(FEW_IMAGES)),
            f"num_neighbors must be below {FEW_IMAGES}",
        ),
        (
            ("--pretrainings", "spectral", "--latent-dim", str(FEW_IMAGES)),
            f"latent_dim must be below {FEW_IMAGES}",
        ),
        (("--beta", "0"), "beta must be positive, but is 0"),
        (("--gamma", "inf"), "gamma must be a finite number, but is inf"),
        (("--learning-rate", "nan"), "learning_rate must be a finite number, but is nan"),
    ],
)
def test_what_cannot_be_trained_is_said_before_anything_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], args: tuple[str, ...], message: str
) -> None:
    out = tmp_path / "out"
    arguments = (*TINY, "--out", str(out), *args)
    assert message in error_line(capsys, lambda: models.vc.cli.main([*arguments]))
    assert not out.exists()


def test_as_many_clusters_and_neighbors_as_there_are_images() -> None:
    config = models.vc.presets.PRESETS["digits"]
    shape = (1, 8, 8)
    config.check_data(shape, config.networks.num_clusters)
    with pytest.raises(ValueError, match="at most 9, the number of items to train on, but is 10"):
        config.check_data(shape, 9)
    config = models.vc.presets.PRESETS["mnist"]
    config.check_data(shape, config.pretraining.num_neighbors + 1)
    with pytest.raises(ValueError, match="below 10, the number of items to train on, but is 10"):
        config.check_data(shape, config.pretraining.num_neighbors)
    config = models.vc.presets.PRESETS["fashion-mnist"]
    with pytest.raises(ValueError, match="give --resemblance pixels"):
        config.check_data((12,), 1000)
