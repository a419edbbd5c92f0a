# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Trainings of DRPM-VAE and its baselines, and their evaluation."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pyro
import pytest
import torch
from torch import Tensor

from models.data import FactorImages, FactorPairs, SharedFactors
from models.vae import figures
from models.vae.config import PRESETS
from models.vae.evaluate import (
    PairCodes,
    Result,
    Scores,
    accuracy_table,
    encode_pairs,
    estimate_table,
    score,
)
from models.vae.figures import save_swaps
from models.vae.model import PairGuide, PairModel
from models.vae.sharing import Method
from models.vae.train import PairTraining, make_sharing
from pyro_drpm.infer import TracePartition_ELBO, temperature
from tests.models.scripts import VAE
from tests.models.training_checks import read_curves

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_run_leaves_its_table(finished_vae_run: Path) -> None:
    header = (
        "method,n_shared,seed,shared_accuracy,independent_accuracy,estimated_shared,squared_error"
    )
    assert (finished_vae_run / VAE.table).read_text().splitlines()[0] == header
    rows = VAE.rows(finished_vae_run)
    assert [(row["n_shared"], row["method"], row["seed"]) for row in rows] == [
        (n_shared, method, "0") for n_shared in ("0", "3") for method in VAE.methods
    ]
    for row in rows:
        assert (row["shared_accuracy"] == "") == (row["n_shared"] == "0")
        estimate = float(row["estimated_shared"])
        assert 0 <= estimate <= 4
        assert float(row["squared_error"]) == (estimate - int(row["n_shared"])) ** 2
        assert row["method"] != "label" or estimate == 3


@pytest.mark.parametrize("method", VAE.methods)
def test_training_lowers_the_loss(finished_vae_run: Path, method: str) -> None:
    for repetition in VAE.repetitions:
        first, *_, last = map(float, read_curves(finished_vae_run / repetition)[method])
        assert last < 0.97 * first


def test_learning_rate_falls_over_the_whole_training() -> None:
    config = dataclasses.replace(PRESETS["scene"], epochs=4, steps_per_epoch=5, learning_rate=0.1)
    training = PairTraining(config, "label", (3, 16, 16))
    chosen = cast("Any", training.configure_optimizers())
    assert chosen["lr_scheduler"]["interval"] == "step"
    rates = []
    for _ in range(20):
        rates.append(chosen["optimizer"].param_groups[0]["lr"])
        chosen["optimizer"].step()
        chosen["lr_scheduler"]["scheduler"].step()
    expected = [0.05 * (1 + math.cos(math.pi * step / 20)) for step in range(20)]
    assert rates == pytest.approx(expected)

    constant = dataclasses.replace(config, schedule="constant")
    optimizer = PairTraining(constant, "label", (3, 16, 16)).configure_optimizers()
    assert isinstance(optimizer, torch.optim.Adam)
    assert optimizer.param_groups[0]["lr"] == 0.1


def test_temperature_falls_over_the_whole_training() -> None:
    config = PRESETS["scene"]
    annealing = PairTraining(config, "drpm", (1, 16, 16)).annealing
    steps = config.epochs * config.steps_per_epoch
    assert annealing(0) == 1 and annealing(steps - 1) > 0.5 and annealing(steps) == 0.5


def test_training_step_is_the_loss_per_pair_at_the_temperature_of_the_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = dataclasses.replace(
        PRESETS["scene"],
        beta=0.7,
        gamma=0.8,
        delta=0.3,
        bound="exact",
        gradient="relaxed",
        average="mlvae",
        shared_latents="per-view",
    )
    pyro.set_rng_seed(0)
    images = torch.rand(3, 2, 1, 16, 16)
    losses, gradients = [], []
    with pyro.settings.context(module_local_params=True):
        training = PairTraining(config, "drpm", (1, 16, 16))
        monkeypatch.setattr(training, "annealing", lambda step: 0.6)
        monkeypatch.setattr(training, "log", lambda *args, **kwargs: None)
        pyro.set_rng_seed(0)
        losses.append(training.training_step(images, 0))
        model = PairModel(training.decoder, training.sharing, 0.7, "per-view")
        guide = PairGuide(training.encoder, training.sharing, 0.7, "per-view", "mlvae")
        elbo = TracePartition_ELBO("exact", gamma=0.8, delta=0.3)
        pyro.set_rng_seed(0)
        with temperature(0.6):
            losses.append(elbo.differentiable_loss(model, guide, images) / 3)
    for loss in losses:
        training.zero_grad()
        loss.backward()
        gradients.append([p.grad for p in training.parameters()])
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*gradients)


# Evaluation, of what is known to be perfect or worthless.


class Stripes(FactorImages):
    """Every factor is a stripe of an image, dark or bright."""

    factor_names = ("a", "b", "c", "d")
    factor_sizes = (2, 2, 2, 2)
    image_shape = (1, 4, 4)
    device = torch.device("cpu")

    def images(self, factors: Tensor) -> Tensor:
        return factors.float().unsqueeze(-1).expand(-1, -1, 4).unsqueeze(1)


def perfect_training(method: Method = "ada") -> PairTraining:
    """Encodes every stripe in a dim of its own, and decodes it."""

    def encoder(images: Tensor) -> tuple[Tensor, Tensor]:
        means = images[..., 0, :, 0]
        return means, torch.full_like(means, 0.01)

    def decoder(z: Tensor) -> Tensor:
        return (40 * (z - 0.5))[..., None, :, None].expand(*z.shape[:-1], 1, 4, 4)

    stub = SimpleNamespace(
        encoder=encoder,
        decoder=decoder,
        sharing=make_sharing(dataclasses.replace(PRESETS["mpi3d"], latent_dim=4), method),
        average="gvae",
        parameters=lambda: iter([torch.zeros(())]),
    )
    return cast(PairTraining, stub)


@pytest.mark.parametrize("shared_factors", ["first", "random"])
@pytest.mark.parametrize("n_shared", [1, 2, 3])
def test_perfect_training_has_perfect_scores(n_shared: int, shared_factors: SharedFactors) -> None:
    pyro.set_rng_seed(0)
    train, test = (
        encode_pairs(perfect_training(), FactorPairs(Stripes(), n_shared, shared_factors), number)
        for number in (600, 300)  # several batches and a part of one
    )
    for codes, number in ((train, 600), (test, 300)):
        assert codes.means.shape == (number, 4)
        assert torch.equal(codes.means, codes.factors.float())
        assert torch.equal(codes.shared_dims.bool(), codes.shared_factors)
    scores = score(train, test)
    assert scores.estimated_shared == n_shared and scores.squared_error == 0
    # With random factors, a classifier sees its dim on the pairs where it counts, and only there.
    assert scores.shared_accuracy == scores.independent_accuracy == 1


@pytest.mark.parametrize("method", ["hg", "drpm"])
def test_shared_dims_are_evaluated_without_noise(method: Method) -> None:
    codes = encode_pairs(perfect_training(method), FactorPairs(Stripes(), 2), 50)
    assert torch.equal(codes.shared_dims.bool(), codes.shared_factors)


def test_swaps_keep_the_shared_part(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pyro.set_rng_seed(0)
    drawn: list[Tensor] = []
    monkeypatch.setattr(figures, "_draw_grid", lambda path, images: drawn.append(images))
    save_swaps(tmp_path / "swaps.png", perfect_training(), FactorPairs(Stripes(), 2), num_pairs=5)
    (images,) = drawn
    assert images.shape == (5, 6, 1, 4, 4)
    first, second, *decoded = images.unbind(1)
    mixed = torch.cat([first[..., :2, :], first.roll(-1, 0)[..., 2:, :]], -2)
    assert not torch.equal(mixed, first) and not torch.equal(mixed, second)
    for image, expected in zip(decoded, (first, second, second, mixed), strict=True):
        torch.testing.assert_close(image, expected)


N = 2000


def codes_of(means: Tensor, shared_dims: list[float], factors: Tensor) -> PairCodes:
    """Codes of pairs that share the first of two factors."""
    shared_factors = torch.tensor([True, False]).expand(N, -1)
    return PairCodes(means, torch.tensor(shared_dims).expand(N, -1), factors, shared_factors)


def random_factors() -> Tensor:
    return torch.stack([torch.randint(3, (N,)), torch.randint(2, (N,))], -1)


@pytest.mark.parametrize(
    ("shared_dims", "shared", "independent"),
    [
        ([1.0, 0.0, 0.0], 1, 1),
        ([0.0, 1.0, 0.0], 0, 0),  # the dim that knows a factor is of the other kind
        ([1.0, 1.0, 0.0], 1, 0),
        ([0.0, 0.0, 1.0], 0, 1),
        ([0.0, 0.0, 0.0], 0, 1),
    ],
)
def test_classifiers_read_the_dims_of_their_kind(
    shared_dims: list[float], shared: int, independent: int
) -> None:
    pyro.set_rng_seed(0)
    both = []
    for _ in range(2):
        factors = random_factors()  # the third dim is noise
        both.append(codes_of(torch.cat([factors, torch.randn(N, 1)], -1), shared_dims, factors))
    scores = score(both[0], both[1])
    assert scores.shared_accuracy == pytest.approx(shared, abs=0.1)
    assert scores.independent_accuracy == pytest.approx(independent, abs=0.1)
    assert scores.estimated_shared == sum(shared_dims)
    assert scores.squared_error == (sum(shared_dims) - 1) ** 2


def test_there_is_no_accuracy_without_factors_of_a_kind() -> None:
    codes = codes_of(torch.randn(N, 2), [1.0, 0.0], random_factors())
    none, every = (
        codes._replace(shared_factors=torch.full((N, 2), value)) for value in (False, True)
    )
    assert score(none, none).shared_accuracy is None
    assert score(every, every).independent_accuracy is None
    constant = codes._replace(factors=codes.factors * torch.tensor([0, 1]))
    assert score(constant, constant).shared_accuracy is None  # nothing to tell apart


def test_tables_have_a_column_for_each_number_and_kind() -> None:
    results = [
        Result("ada", 0, 0, Scores(None, 0.25, 2.0, 4.0)),
        Result("ada", 3, 0, Scores(0.5, 0.5, 3.0, 0.0)),
        Result("ada", 3, 1, Scores(0.7, 0.5, 4.0, 1.0)),
    ]
    header, row = accuracy_table(results).splitlines()
    assert re.split(r"\s{2,}", header.strip()) == ["S, n_s=0", "I, n_s=0", "S, n_s=3", "I, n_s=3"]
    assert re.split(r"\s{2,}", row) == ["ada", "0.250", "0.600 ± 0.141", "0.500 ± 0.000"]
    header, row = estimate_table(results).splitlines()
    assert re.split(r"\s{2,}", header.strip())[2:] == ["shared, n_s=3", "error, n_s=3"]
    assert re.split(r"\s{2,}", row) == ["ada", "2.000", "4.000", "3.500 ± 0.707", "0.500 ± 0.707"]
