# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""What a run has trained is loaded from its files, or a line says why not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from models.data import load_images
from models.vc.config import Method
from models.vc.directory import TABLE
from models.vc.evaluate import predict, score
from models.vc.methods import TRAININGS
from models.vc.trained import load_trained
from tests.models.training_checks import read_csv
from tests.models.vc_runs import SEED


@pytest.mark.parametrize("method", TRAININGS)
def test_a_loaded_method_has_the_scores_of_the_run(finished_vc_run: Path, method: Method) -> None:
    data = load_images("digits")
    network, priors, _ = load_trained(finished_vc_run, method)
    scores = score(data.test_labels, predict(network.encoder, priors, data.test_images))
    (row,) = (row for row in read_csv(finished_vc_run / TABLE) if row["method"] == method)
    assert [float(row[name]) for name in scores._fields] == list(scores)


def test_the_directory_may_be_relative(
    finished_vc_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(finished_vc_run)
    here, there = load_trained(Path()), load_trained(finished_vc_run, "drpm", str(SEED))
    torch.testing.assert_close(here.priors.state_dict(), there.priors.state_dict())


def other_width(run: Path) -> None:
    settings = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**settings, "hidden": [16, 13]}))


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGES: list[tuple[Callable[[Path], object], str]] = [
    (lambda run: (run / "config.json").unlink(), "config.json is missing"),
    (lambda run: half(run / "config.json"), "config.json cannot be read"),
    (lambda run: (run / "config.json").write_text("{}"), "of another model: it has no hidden"),
    (lambda run: (run / "config.json").write_text("[]"), "must hold settings by their names"),
    (other_width, "drpm.ckpt has other networks than .*config.json says"),
    (lambda run: (run / SEED / "drpm.ckpt").unlink(), "drpm.ckpt is missing"),
    (lambda run: half(run / SEED / "drpm.ckpt"), "drpm.ckpt cannot be read"),
    (
        lambda run: shutil.copy(run / SEED / "vade.ckpt", run / SEED / "drpm.ckpt"),
        "no checkpoint of the stage drpm, but of vade",
    ),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES)
def test_what_cannot_be_loaded(
    finished_vc_run: Path, tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished_vc_run, run)
    damage(run)
    with pytest.raises(ValueError, match=message):
        load_trained(run, "drpm")


def test_a_method_that_is_not_trained(finished_vc_run: Path) -> None:
    with pytest.raises(ValueError, match="one of vade, .*drpm, but is gmm"):
        load_trained(finished_vc_run, "gmm")
