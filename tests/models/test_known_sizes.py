# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Clusters of known sizes: model, fit, rivals and command line, against enumerated partitions."""

from __future__ import annotations

import itertools
import math
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from models.known_sizes.cli import main
from models.known_sizes.data import DataName, load_dataset
from models.known_sizes.evaluate import score
from models.known_sizes.fit import Fit, fit_mixture
from models.known_sizes.methods import METHODS, Task
from models.known_sizes.model import Mixture, MixtureGuide
from models.known_sizes.rivals import constrained_kmeans, gaussian_mixture, hard_em
from models.known_sizes.starts import STARTS, Start
from pyro_drpm import DRPM
from pyro_drpm.distributions import DirichletMultinomialSizes, FixedSizes, MultinomialSizes
from tests.models.training_checks import error_line, read_csv

SIZES = torch.tensor([2, 4])


@pytest.fixture
def points() -> Tensor:
    """Two clusters of two and four points that overlap a little."""
    generator = torch.Generator().manual_seed(0)
    centers = torch.tensor([[0.0, 0.0]] * 2 + [[2.0, 1.0]] * 4)
    return centers + torch.randn(6, 2, generator=generator)


@pytest.fixture
def start() -> Start:
    return Start(torch.tensor([[0.0, 0.0], [2.0, 1.0]]), torch.ones(2, 2))


def test_sizes_of_the_classes() -> None:
    assert load_dataset("iris").sizes.tolist() == [50, 50, 50]
    digits = load_dataset("digits")
    assert digits.points.shape == (1797, 10) and digits.sizes.sum() == 1797
    names: tuple[DataName, ...] = ("iris", "wine")
    for name in names:
        points = load_dataset(name).points
        assert points.mean(0).abs().max() < 1e-5
        assert (points.std(0, correction=0) - 1).abs().max() < 1e-5


# The guide's law of the sizes is an approximation where they are not known.
@pytest.mark.parametrize(
    ("law", "gap"),
    [
        (FixedSizes(SIZES), 0.1),
        (MultinomialSizes(6, torch.ones(2), minimum=torch.tensor(1), maximum=torch.tensor(5)), 0.5),
        (DirichletMultinomialSizes(6, torch.ones(2)), 0.5),
    ],
    ids=["known", "bounds", "unknown"],
)
def test_the_fit_comes_near_the_evidence(
    points: Tensor, start: Start, law: Any, gap: float
) -> None:
    mixture = Mixture(law, *start)
    mixture.loc.requires_grad_(False)  # the evidence has no maximum with this few points
    fit = fit_mixture(mixture, points, num_steps=300, num_particles=8, seed=0)
    prior = DRPM(sizes=law, s=torch.ones(6))
    every = prior.enumerate_support()
    log_joint = prior.log_prob(every) + (every * mixture.log_densities(points)).sum((-2, -1))
    evidence = -log_joint.logsumexp(0).item()
    assert fit.loss is not None and evidence - 0.02 < fit.loss < evidence + gap
    marginals = (log_joint.softmax(0)[:, None, None] * every).sum(0).mT
    assert (fit.probs - marginals).abs().max() < 2 * gap


def test_draws_of_the_guide_keep_within_the_bounds(points: Tensor, start: Start) -> None:
    least, most = torch.tensor([3, 1]), torch.tensor([5, 3])
    law = MultinomialSizes(6, torch.ones(2), minimum=least, maximum=most)
    sizes = MixtureGuide(Mixture(law, *start), 6).partition(points).sample((200,)).sum(-1)
    assert (sizes >= least).all() and (sizes <= most).all()


def test_hard_em_ends_where_no_other_partition_is_better(points: Tensor, start: Start) -> None:
    fit = hard_em(points, start, SIZES)
    assert fit.clusters.bincount().tolist() == SIZES.tolist()
    members = [points[fit.clusters == k].double() for k in range(2)]
    loc = torch.stack([x.mean(0) for x in members])
    scale = torch.stack([x.std(0, correction=0) for x in members])

    def log_density(clusters: tuple[int, ...]) -> float:
        return Normal(loc[list(clusters)], scale[list(clusters)]).log_prob(points).sum().item()

    best = max(log_density(c) for c in itertools.product(range(2), repeat=6) if sum(c) == 4)
    assert fit.loss == pytest.approx(math.log(math.comb(6, 2)) - best)
    assert log_density(tuple(fit.clusters.tolist())) == pytest.approx(best)


def test_the_mixture_is_one_with_free_weights(start: Start) -> None:
    pyro.set_rng_seed(0)
    points = torch.cat([torch.randn(100, 2), torch.randn(300, 2) + 4])
    fit = gaussian_mixture(points, start)
    assert (fit.clusters.bincount() - torch.tensor([100, 300])).abs().max() < 10
    weights = fit.probs.mean(0)
    loc = (fit.probs.mT @ points.double()) / fit.probs.sum(0).unsqueeze(-1)
    var = (fit.probs.mT @ points.double().square()) / fit.probs.sum(0).unsqueeze(-1) - loc**2
    log_density = Normal(loc, var.sqrt()).log_prob(points.double().unsqueeze(1)).sum(-1)
    evidence = (log_density + weights.log()).logsumexp(-1).sum().item()
    assert fit.loss == pytest.approx(-evidence, abs=0.1)


def test_constrained_kmeans_keeps_the_bounds(
    points: Tensor, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package is not among the dependencies: a stand-in notes what it is asked for."""

    class Asked:
        def __init__(self, num_clusters: int, **options: Any) -> None:
            assert num_clusters == 2 and options["size_min"] == 2 and options["size_max"] == 4
            assert (options["init"] == start.loc.numpy()).all() and options["n_init"] == 1

        def fit_predict(self, points: Any) -> Any:
            return np.array([0, 0, 1, 1, 1, 1])

    package = types.SimpleNamespace(KMeansConstrained=Asked)
    monkeypatch.setitem(sys.modules, "k_means_constrained", package)
    fit = constrained_kmeans(points, start, SIZES, seed=0)
    assert fit.loss is None and fit.clusters.tolist() == [0, 0, 1, 1, 1, 1]
    assert fit.probs[:, 1].tolist() == [0, 0, 1, 1, 1, 1]


def test_scores_of_what_is_known() -> None:
    classes = torch.tensor([0, 0, 1, 1])
    # Classes have other numbers than clusters.
    probs = torch.tensor([[0.0, 1.0], [0.4, 0.6], [0.6, 0.4], [0.3, 0.7]])
    scores = score(Fit(probs, None, probs.argmax(-1)), classes)
    squares = [0.0, 2 * 0.4**2, 2 * 0.4**2, 2 * 0.7**2]
    assert scores.brier == pytest.approx(sum(squares) / 4)
    assert scores.overconfidence == pytest.approx((1.0 + 0.6 + 0.6 + 0.7) / 4 - 3 / 4)
    perfect = score(Fit(torch.eye(2)[1 - classes], 1.0, 1 - classes), classes)
    assert perfect.ari == 1 and perfect.brier == 0 and perfect.overconfidence == 0


@pytest.mark.parametrize("name", STARTS)
def test_starts_are_where_points_are(name: Any) -> None:
    data = load_dataset("wine")
    start = STARTS[name](data.points, 3, 0)
    again = STARTS[name](data.points, 3, 0)
    assert torch.equal(start.loc, again.loc) and (start.scale > 0).all()
    assert torch.cdist(start.loc, data.points).amin(-1).max() < 3
    matched = start.matched(data.sizes, data.points)
    nearest = torch.cdist(data.points, start.loc).argmin(-1).bincount(minlength=3)
    assert torch.equal(nearest.argsort(), matched.argsort())


def test_every_method_gives_probabilities(points: Tensor, start: Start) -> None:
    task = Task(points, SIZES, start, seed=0, num_steps=3, num_particles=2)
    for name, method in METHODS.items():
        if name != "k-means-constrained":
            fit = method(task)
            torch.testing.assert_close(fit.probs.sum(-1).double(), torch.ones(6).double())
            assert fit.clusters.shape == (6,) and fit.loss is not None


def test_command_line_prints_and_saves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    sizes = ("--datasets", "iris", "--seeds", "2", "--steps", "2", "--particles", "2")
    main(["--out", str(out), *sizes])
    printed = capsys.readouterr().out
    assert "iris, 2 seed(s), from points" in printed and "hard-em" in printed
    rows = read_csv(out / "iris.csv")
    assert len(rows) == 2 * 2 * 7 and {row["start"] for row in rows} == {"k-means", "points"}
    for name in ("iris.csv", "iris.png"):
        assert (out / name).exists() and name in printed


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--seeds", "0"], "error: seeds must be positive, but is 0"),
        (["--particles", "1"], "error: particles must be at least 2, but is 1"),
        (["--methods", "known", "known"], "error: methods must hold different values"),
        (["--methods", "k-means-constrained"], "error: methods must not hold k-means-constrained"),
    ],
)
def test_bad_settings_end_with_one_line(
    args: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("models.known_sizes.cli.find_spec", lambda name: None)
    assert error_line(capsys, lambda: main(args)).startswith(message)
