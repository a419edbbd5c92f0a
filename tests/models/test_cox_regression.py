# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Cox regression of arrests; its likelihood is in tests/test_survival.py."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.runs.chains import ChainSettings
from models.survival.cli import main
from models.survival.data import load_rossi
from models.survival.regression import draw_coefficients, most_likely
from pyro_drpm.survival import CoxPartialLikelihood
from tests.models.training_checks import error_line


def test_data() -> None:
    rossi = load_rossi()
    assert rossi.names == ("fin", "age", "race", "wexp", "mar", "paro", "prio")
    assert rossi.week.min() == 1 and rossi.week.max() == 52
    assert (rossi.week[~rossi.arrest] == 52).all()
    standard = rossi.standardized().covariates
    torch.testing.assert_close(standard.mean(0), torch.zeros(7).double(), atol=1e-12, rtol=0)
    torch.testing.assert_close(standard.std(0), torch.ones(7).double())
    assert rossi.grouped(26).week.unique().tolist() == [1, 2]
    assert torch.equal(rossi.grouped(1).week, rossi.week)


def test_posterior_is_around_the_maximum() -> None:
    """With 114 events and 7 covariates a normal law around it, narrowed by the prior, is near."""
    data = load_rossi().standardized()
    likelihood = CoxPartialLikelihood(data.grouped(13).week, data.arrest)
    maximum = most_likely(data.covariates, likelihood)
    curvature = -torch.autograd.functional.hessian(
        lambda b: likelihood(data.covariates @ b), maximum
    )
    covariance = torch.linalg.inv(curvature + torch.eye(7, dtype=torch.float64))
    mean = covariance @ curvature @ maximum
    mcmc = draw_coefficients(
        data.covariates, likelihood, ChainSettings(1, 100, 200), progress=False
    )
    draws, std = mcmc.get_samples()["beta"], covariance.diagonal().sqrt()
    assert ((draws.mean(0) - mean).abs() < 0.5 * std).all()
    assert ((draws.std(0) / std - 1).abs() < 0.35).all()


def test_command_line_prints_and_saves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ("--chains", "1", "--warmup", "3", "--draws", "4", "--weeks", "26")
    main(["--out", str(tmp_path / "run"), *sizes])
    printed = capsys.readouterr().out
    for word in ("as recorded", "26 weeks", "efron", "0.2703", "0.2663", "0.2303"):
        assert word in printed
    for name in ("coefficients.csv", "coefficients.png"):
        assert (tmp_path / "run" / name).exists()
        assert name in printed


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--weeks", "1"], "error: weeks must be lengths from 2 to 52, but are (1,)"),
        (["--draws", "2"], "error: draws must be at least 4, but is 2"),
    ],
)
def test_bad_settings_end_with_one_line(
    args: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert error_line(capsys, lambda: main(args)) == message + "\n"
