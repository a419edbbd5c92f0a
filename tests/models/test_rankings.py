# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Scores from rankings with ties, and files of rankings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyro
import pytest
import torch

from models.rankings.cli import main
from models.rankings.data import Ballots, load_ballots, read_preflib
from models.rankings.model import SCORE_SCALE, draw_scores, held_out, most_probable
from models.runs.chains import ChainSettings
from pyro_drpm.distributions import TiedPlackettLuce
from tests.models.training_checks import error_line


def test_rankings_that_come_with_the_models() -> None:
    mariner, debian = load_ballots("mariner"), load_ballots("debian")
    assert mariner.value.shape == (10, 32) and mariner.voters.tolist() == [1.0] * 10
    assert mariner.value[0].argmin() == 22 and mariner.value.max() == 31
    assert mariner.value[-1].bincount().tolist() == [1, 3, 3, 1, 24]
    assert debian.names[2] == "Bdale Garbee"
    assert int(debian.voters.sum()) == 475
    # The third before the first, before the second and the fourth, who is left out.
    assert debian.value[2].tolist() == [1, 2, 0, 3]
    assert load_ballots("debian", "absent").value[2].tolist() == [1, 2, 0, -1]
    other: Any = "voyager"
    with pytest.raises(ValueError, match="one of mariner, debian, but are 'voyager'"):
        load_ballots(other)


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(("# NUMBER ALTERNATIVES: 4", *lines)) + "\n")
    return path


def test_files_of_ones_own(tmp_path: Path) -> None:
    lines = ("# ALTERNATIVE NAME 2: second one", "3: 2,{1,4}", "", "1:{3} , 2", "2: {1,2,3,4}")
    ballots = read_preflib(write(tmp_path / "some.toi", *lines))
    assert ballots.names == ("1", "second one", "3", "4")
    assert ballots.voters.tolist() == [3, 1, 2]
    assert ballots.value.tolist() == [[1, 0, 2, 1], [2, 1, 0, 2], [0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,2,3", r"line 2 of .* must be a ranking, as 3: 2,\{1,4\}, but is '1,2,3'"),
        ("x: 1,2", "must be a ranking"),
        ("0: 1,2", "must be a ranking"),
        ("1: 1,b", "must be a ranking"),
        ("1: 1,5", "must have each of 1 to 4 once at most, but is '1: 1,5'"),
        ("1: 1,{2,1}", "once at most"),
    ],
)
def test_bad_lines(line: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        read_preflib(write(tmp_path / "bad.toi", line))


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot read .*nothing.toi"):
        read_preflib(tmp_path / "nothing.toi")
    with pytest.raises(ValueError, match="must have rankings"):
        read_preflib(write(tmp_path / "empty.toi"))
    (tmp_path / "bare.toi").write_text("1: 1,2\n")
    with pytest.raises(ValueError, match="NUMBER ALTERNATIVES"):
        read_preflib(tmp_path / "bare.toi")
    other: Any = "first"
    with pytest.raises(ValueError, match="unranked must be last or absent, but is 'first'"):
        read_preflib(tmp_path / "bare.toi", other)


def test_broken_ties_agree_with_the_groups() -> None:
    ballots = load_ballots("mariner")
    value = ballots.value.clone()
    value[:, 3] = -1
    broken = Ballots(ballots.names, value, ballots.voters).broken(torch.Generator().manual_seed(0))
    for old, new in zip(value, broken.value, strict=True):
        present = old >= 0
        assert (new[~present] == -1).all()
        assert sorted(new[present].tolist()) == list(range(31))
        earlier = old.unsqueeze(-1) < old
        assert (new.unsqueeze(-1) < new)[earlier & present.unsqueeze(-1)].all()
    other = load_ballots("mariner").broken(torch.Generator().manual_seed(1))
    assert not torch.equal(other.value[-1], broken.value[-1])


@pytest.fixture
def few() -> Ballots:
    value = torch.tensor([[0, 1, 1], [0, 0, 1], [1, 0, -1]])
    return Ballots(("a", "b", "c"), value, torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64))


def test_posterior_on_a_grid(few: Ballots) -> None:
    axis = torch.linspace(-9, 9, 37, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis, axis)
    log_p = -(grid**2).sum(-1) / (2 * SCORE_SCALE**2)
    for value, voters in zip(few.value, few.voters, strict=True):
        log_p = log_p + voters * TiedPlackettLuce(log_s=grid).log_prob(value)
    p = log_p.softmax(0)
    mean = p @ grid
    std = (p @ (grid - mean) ** 2).sqrt()
    mcmc = draw_scores(few, ChainSettings(1, 100, 300), progress=False)
    draws = mcmc.get_samples()["log_s"]
    # Four standard errors of a hundred and fifty effective draws.
    assert ((draws.mean(0) - mean).abs() < 4 * std / 150**0.5).all()
    assert ((draws.std(0) / std - 1).abs() < 0.25).all()
    assert (most_probable(few) - grid[log_p.argmax()]).abs().max() < 0.3


def test_held_out_rankings(few: Ballots) -> None:
    terms = [
        TiedPlackettLuce(log_s=most_probable(few.without(at))).log_prob(few.value[at])
        for at in range(3)
    ]
    expected = (3 * terms[0] + 2 * terms[1] + terms[2]) / 6
    assert held_out(few, few) == pytest.approx(float(expected))


def test_command_line_prints_and_saves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "some.toi", "3: 2,{1,4}", "1: 3,2", "2: {1,2},{3,4}")
    sizes = ("--chains", "1", "--warmup", "5", "--draws", "8", "--breaks", "1")
    pyro.set_rng_seed(0)
    main(["--file", str(file), "--out", str(tmp_path / "run"), *sizes])
    printed = capsys.readouterr().out
    assert "best with probability" in printed
    assert "ties broken at random, 1: standard deviation of the log-scores" in printed
    for name in ("scores.csv", "scores.png"):
        assert (tmp_path / "run" / name).exists()
        assert name in printed


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--draws", "3"], "error: draws must be at least 4, but is 3"),
        (["--file", "nothing.toi"], "error: cannot read nothing.toi"),
    ],
)
def test_bad_settings_end_with_one_line(
    args: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert error_line(capsys, lambda: main(args)).startswith(message)
