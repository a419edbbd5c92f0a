# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The posterior of a DRPM given observed partitions."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from pyro.infer.autoguide import AutoMultivariateNormal
from scipy.stats import chisquare
from torch import Tensor
from torch.distributions import Normal

from models.elections.calibration import calibration_ranks, rank_counts
from models.elections.cli import main
from models.elections.data import Elections, load_elections
from models.elections.forecast import draw_forecast
from models.elections.inference import draw_posterior, fit_guide
from models.elections.model import LEAN_SCALE
from models.elections.summary import named_draws, summarize
from models.runs.chains import ChainSettings, num_divergences

STATES = " ".join(load_elections().states)


def test_states_carried_in_each_year() -> None:
    elections = load_elections()
    republican, democratic = elections.partitions.sum(-1).unbind(-1)
    assert republican.tolist() == [18, 19, 30, 31, 22, 24, 30, 25, 31]
    assert (republican + democratic == len(elections.states)).all()
    # Won by both sides in turn, and by one side only.
    by_state = dict(zip(elections.states, elections.partitions[:, 0].mT.tolist(), strict=True))
    assert by_state["OH"] == [0, 0, 1, 1, 0, 0, 1, 1, 1]
    assert by_state["DC"] == [0] * 9
    assert by_state["WY"] == [1] * 9


@pytest.fixture(scope="module")
def two_states() -> Tensor:
    """Three elections: the first state alone, the first state alone, both are Republican."""
    votes = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    return torch.stack([votes, 1 - votes], 1)


def exact_moments(votes: Tensor) -> dict[str, tuple[float, float]]:
    """Means and standard deviations, by hand-written masses on a fine grid.

    With two states and weights (omega, 1), both of capacity 2, the number of Republican states is
    0, 1 or 2 with masses in the ratio 1 : 4 omega : omega^2, and of one Republican state the first
    is it with probability sigmoid(log s_1 - log s_2).
    """
    swing = torch.linspace(-8, 8, 2001, dtype=torch.float64)
    swing_prior = Normal(0.0, 1.0).log_prob(swing)
    numbers = torch.stack([torch.zeros_like(swing), swing + torch.tensor(4.0).log(), 2 * swing])
    numbers = numbers.log_softmax(0)
    moments = {}
    for t, number in enumerate(votes[:, 0].sum(-1).long()):
        moments[f"log_omega[{t}]"] = weighted_moments(swing, swing_prior + numbers[number])
    # The data know the difference alone, and the sum keeps its prior.
    difference = torch.linspace(-40, 40, 8001, dtype=torch.float64)
    log_weight = Normal(0.0, LEAN_SCALE * 2**0.5).log_prob(difference)
    log_weight = log_weight + 2 * torch.nn.functional.logsigmoid(difference)
    mean, std = weighted_moments(difference, log_weight)
    sum_variance = 2 * LEAN_SCALE**2
    for i, sign in enumerate((1, -1)):
        moments[f"log_s[{i}]"] = sign * mean / 2, ((std**2 + sum_variance) / 4) ** 0.5
    return moments


def weighted_moments(x: Tensor, log_weight: Tensor) -> tuple[float, float]:
    weight = log_weight.softmax(-1)
    mean = (weight * x).sum()
    return mean.item(), (weight * (x - mean).square()).sum().sqrt().item()


def test_nuts_draws_from_the_exact_posterior(two_states: Tensor) -> None:
    mcmc = draw_posterior(two_states, ChainSettings(1, 100, 300), seed=0, progress=False)
    draws = mcmc.get_samples()
    assert num_divergences(mcmc) == 0
    for site, (mean, std) in exact_moments(two_states).items():
        name, index = site.rstrip("]").split("[")
        values = draws[name][:, int(index)]
        # Four standard errors of two hundred effective draws.
        assert values.mean().item() == pytest.approx(mean, abs=0.28 * std)
        assert values.std().item() == pytest.approx(std, rel=0.2)


def test_guide_approximates_the_exact_posterior(two_states: Tensor) -> None:
    draws, losses = fit_guide(
        two_states, AutoMultivariateNormal, num_steps=500, seed=0, progress=False
    )
    assert sum(losses[-100:]) < sum(losses[:100])
    for site, (mean, std) in exact_moments(two_states).items():
        name, index = site.rstrip("]").split("[")
        values = draws[name][:, int(index)]
        # The posterior of the scores is skew, a normal one is not.
        assert values.mean().item() == pytest.approx(mean, abs=0.4 * std)
        assert values.std().item() == pytest.approx(std, rel=0.3)


@pytest.mark.parametrize("called", [False, True])
def test_forecast_of_the_exact_posterior(two_states: Tensor, called: bool) -> None:
    """The third election from the first two, in each of which state A alone was Republican."""
    known = torch.tensor([torch.nan, 0.0]).double() if called else None
    mcmc = draw_forecast(two_states[:2], known, ChainSettings(1, 50, 150), seed=0, progress=False)
    difference = torch.linspace(-40, 40, 8001, dtype=torch.float64)
    log_weight = Normal(0.0, LEAN_SCALE * 2**0.5).log_prob(difference)
    weight = (log_weight + 2 * torch.nn.functional.logsigmoid(difference)).softmax(0)
    first = float((weight * difference.sigmoid()).sum())
    swing = torch.linspace(-8, 8, 2001, dtype=torch.float64)
    numbers = torch.stack([torch.zeros_like(swing), swing + torch.tensor(4.0).log(), 2 * swing])
    none, one, both = (numbers.softmax(0) * Normal(0.0, 1.0).log_prob(swing).softmax(0)).sum(-1)
    # Neither, A alone, B alone, both.
    prob = torch.stack([none, one * first, one * (1 - first), both])
    if called:
        prob = prob * torch.tensor([1.0, 1.0, 0.0, 0.0])
    votes = mcmc.get_samples()["Y_next"][:, 0]
    found = (votes @ torch.tensor([1.0, 2.0]).double()).long().bincount(minlength=4) / 150
    # Four standard errors of sixty effective draws.
    torch.testing.assert_close(found.double(), prob / prob.sum(), atol=0.25, rtol=0)


def test_posteriors_are_calibrated() -> None:
    num_draws, num_bins = 19, 5
    ranks = calibration_ranks(
        100,
        num_elections=2,
        num_states=3,
        num_warmup=60,
        num_draws=num_draws,
        thinning=4,
        seed=0,
        progress=False,
    )
    assert {name: values.shape for name, values in ranks.items()} == {
        "log_s": (100, 3),
        "log_omega": (100, 2),
    }
    for values in ranks.values():
        for of_parameter in values.mT:
            counts = rank_counts(of_parameter, num_draws, num_bins)
            assert chisquare(counts.numpy()).pvalue > 1e-3
            # Had the draws been wider than the posterior by half, the test would have told.
            narrowed = (of_parameter - num_draws / 2) / 1.5 + num_draws / 2
            narrow_counts = rank_counts(narrowed.round().long(), num_draws, num_bins)
            assert chisquare(narrow_counts.numpy()).pvalue < 1e-3


@pytest.fixture
def small_elections(two_states: Tensor) -> Elections:
    return Elections(years=(1, 2, 3), states=("A", "B"), partitions=two_states)


def test_draws_are_named_by_state_and_year(small_elections: Elections) -> None:
    draws = {"log_s": torch.randn(10, 2), "log_omega": torch.randn(10, 3)}
    posterior = named_draws(draws, small_elections).posterior
    assert posterior["log_s"].dims == ("chain", "draw", "state")
    assert posterior["log_omega"].sel(year=2).shape == (1, 10)
    table = summarize(draws, small_elections)
    assert table.loc["log_s[B]", "mean"] == pytest.approx(draws["log_s"][:, 1].mean().item())
    assert set(table.index) == {"log_s[A]", "log_s[B]", *(f"log_omega[{i}]" for i in (1, 2, 3))}


def test_command_line_prints_and_saves(
    small_elections: Elections,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("models.elections.cli.load_elections", lambda: small_elections)
    short = partial(calibration_ranks, num_warmup=5, thinning=1)
    monkeypatch.setattr("models.elections.cli.calibration_ranks", short)
    monkeypatch.setattr("models.elections.cli._RANKED_DRAWS", 9)
    sizes = ("chains=2", "warmup=5", "draws=8", "svi-steps=3", "replications=4")
    main(["--out", str(tmp_path / "run"), *(f"--{size}" for size in sizes)])
    printed = capsys.readouterr().out
    assert "log_s[B]" in printed
    assert "largest R-hat" in printed
    assert "3 from the elections before" in printed
    for name in ("posterior.csv", "leans.png", "forecast.csv", "ranks.png"):
        assert (tmp_path / "run" / name).exists()
        assert name in printed


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--chains", "1"], "error: chains must be at least 2, but is 1"),
        (["--svi-steps", "0"], "error: svi_steps must be positive, but is 0"),
        (["--called", "FL", "XX"], f"error: called must be states of {STATES}, but has XX"),
    ],
)
def test_bad_settings_end_with_one_line(
    args: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(args)
    assert exit_info.value.code == 2
    assert capsys.readouterr().err == message + "\n"


def test_output_must_be_a_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(SystemExit):
        main(["--out", str(path)])
    assert "must be a directory, but is a file" in capsys.readouterr().err
