# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Trainings of DRPM-VAE and its baselines, resumed and not, and their evaluation."""

from __future__ import annotations

import dataclasses
import math
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import joblib
import pyro
import pytest
import torch
from matplotlib.image import imread
from torch import Tensor

from models.data import FactorImages, SharedFactors
from models.vae import cli, figures
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
from tests.models.training_checks import (
    Killed,
    assert_help_shows,
    error_line,
    kill_in,
    one_thread,
    read_csv,
    read_curves,
)

TINY = (
    *("--image-size", "16", "--width", "4", "--num-features", "16", "--latent-dim", "4"),
    *("--epochs", "3", "--steps-per-epoch", "10", "--batch-size", "16", "--checkpoint-every", "2"),
    *("--learning-rate", "0.01", "--train-pairs", "60", "--test-pairs", "40", "--device", "cpu"),
)
METHODS = ("label", "ada", "hg", "drpm")


def run(out: Path, *args: str) -> None:
    cli.main([*TINY, "--out", str(out), *args])


def read_table(out: Path) -> list[dict[str, str]]:
    return read_csv(out / "table2.csv")


def curves_of(out: Path, n_shared: int) -> dict[str, list[str]]:
    return read_curves(out / f"n_shared-{n_shared}" / "seed-0")


def assert_same(out: Path, reference: Path, n_shared: int, methods: tuple[str, ...]) -> None:
    """A run of some methods and one number of shared factors has the results of a larger one."""
    expected = [
        row
        for row in read_table(reference)
        if row["n_shared"] == str(n_shared) and row["method"] in methods
    ]
    assert len(expected) == len(methods) and read_table(out) == expected
    curves = curves_of(reference, n_shared)
    assert curves_of(out, n_shared) == {method: curves[method] for method in methods}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never killed. Tests that change it copy it."""
    out = tmp_path_factory.mktemp("runs") / "finished"
    run(out, "--n-shared", "0", "3")
    return out


def test_a_run_leaves_its_table(finished: Path) -> None:
    header = (
        "method,n_shared,seed,shared_accuracy,independent_accuracy,estimated_shared,squared_error"
    )
    assert (finished / "table2.csv").read_text().splitlines()[0] == header
    rows = read_table(finished)
    assert [(row["n_shared"], row["method"], row["seed"]) for row in rows] == [
        (n_shared, method, "0") for n_shared in ("0", "3") for method in METHODS
    ]
    for row in rows:
        assert (row["shared_accuracy"] == "") == (row["n_shared"] == "0")
        estimate = float(row["estimated_shared"])
        assert 0 <= estimate <= 4
        assert float(row["squared_error"]) == (estimate - int(row["n_shared"])) ** 2
        assert row["method"] != "label" or estimate == 3


def test_a_run_leaves_its_figures_and_checkpoints(finished: Path) -> None:
    drawn = [finished / "figure3.png"]
    for n_shared in (0, 3):
        directory = finished / f"n_shared-{n_shared}" / "seed-0"
        drawn.append(directory / "curves.png")
        for method in METHODS:
            drawn.append(directory / f"{method}-swaps.png")
            assert (directory / f"{method}.ckpt").is_file()
            assert list((directory / "logs" / method).glob("events.out.tfevents*"))
    for path in drawn:
        assert imread(path)[..., :3].std() > 0.01, path


@pytest.mark.parametrize("method", METHODS)
def test_training_lowers_the_loss(finished: Path, method: str) -> None:
    for n_shared in (0, 3):
        first, *_, last = map(float, curves_of(finished, n_shared)[method])
        assert last < 0.97 * first


def test_a_killed_run_ends_with_the_same_results(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = ("--methods", "hg", "drpm", "--n-shared", "3")
    resume: tuple[str, ...] = ()
    for stage, step in (("hg", 5), ("hg", 25), ("drpm", 27)):  # checkpoints at steps 20 and 30
        with monkeypatch.context() as patch, pytest.raises(Killed):
            kill_in(patch, PairTraining, stage, step)
            run(tmp_path, *some, *resume)
        assert not (tmp_path / "table2.csv").exists()
        resume = ("--resume",)
    run(tmp_path, *some, *resume)
    assert_same(tmp_path, finished, 3, ("hg", "drpm"))


def test_two_trainings_at_once_give_the_same_results(finished: Path, tmp_path: Path) -> None:
    with joblib.parallel_config("loky", inner_max_num_threads=1):
        run(tmp_path, "--jobs", "2", "--methods", "label", "drpm", "--n-shared", "3")
    assert_same(tmp_path, finished, 3, ("label", "drpm"))


def fail(capsys: pytest.CaptureFixture[str], out: Path, *args: str) -> str:
    return error_line(capsys, lambda: run(out, *args))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("--n-shared 8", "n_shared must be numbers from 0 to 7, but is (8,)"),
        ("--n-shared -1 0", "n_shared must be numbers from 0 to 7, but is (-1, 0)"),
        ("--n-shared 3 3", "n_shared must hold different values, but is (3, 3)"),
        ("--methods drpm drpm", "methods must hold different values, but is ('drpm', 'drpm')"),
        ("--image-size 30", "multiples of 16, but have 30 x 30"),
        ("--jobs 0", "jobs must be positive, but is 0"),
        ("--devices 0", "devices must be positive, but is 0"),
        ("--jobs 3 --devices 2", "jobs must be 1 where several devices train together, but is 3"),
        ("--beta 0", "beta must be positive, but is 0.0"),
        ("--delta -1", "delta must not be negative, but is -1.0"),
        ("--dataset mpi3d", "pass its directory as data_dir"),
        ("--dataset dsprites --data-dir nowhere", "nowhere"),
    ],
)
def test_bad_arguments_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], args: str, message: str
) -> None:
    assert message in fail(capsys, tmp_path / "out", *args.split())
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_resumed_is_one_line(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "there is no run in" in fail(capsys, tmp_path / "none", "--resume")
    same = ("--resume", "--n-shared", "0", "3")
    assert "not 0.5" in fail(capsys, finished, *same, "--delta", "0.5")
    out = tmp_path / "damaged"
    shutil.copytree(finished, out)
    path = out / "n_shared-3" / "seed-0" / "ada.ckpt"
    path.write_bytes(path.read_bytes()[:1000])
    assert str(path) in fail(capsys, out, *same)


def test_the_help_shows_the_defaults_of_the_dataset(capsys: pytest.CaptureFixture[str]) -> None:
    defaults = {dataset: preset.batch_size for dataset, preset in PRESETS.items()}
    assert_help_shows(capsys, cli.main, "Pairs of images of a step.", defaults)


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
        encode_pairs(perfect_training(), Stripes(), n_shared, number, shared_factors)
        for number in (600, 300)  # several batches and a part of one
    )
    for codes, number in ((train, 600), (test, 300)):
        assert codes.means.shape == (number, 4)
        assert torch.equal(codes.means, codes.factors.float())
        assert torch.equal(codes.shared_dims.bool(), codes.shared_factors)
    scores = score(train, test, n_shared)
    assert scores.estimated_shared == n_shared and scores.squared_error == 0
    # With random factors, a classifier sees its dim on the pairs where it counts, and only there.
    assert scores.shared_accuracy == scores.independent_accuracy == 1


@pytest.mark.parametrize("method", ["hg", "drpm"])
def test_shared_dims_are_evaluated_without_noise(method: Method) -> None:
    codes = encode_pairs(perfect_training(method), Stripes(), 2, 50)
    assert torch.equal(codes.shared_dims.bool(), codes.shared_factors)


def test_swaps_keep_the_shared_part(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pyro.set_rng_seed(0)
    drawn: list[Tensor] = []
    monkeypatch.setattr(figures, "_draw_grid", lambda path, images: drawn.append(images))
    save_swaps(tmp_path / "swaps.png", perfect_training(), Stripes(), n_shared=2, num_pairs=5)
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
    scores = score(both[0], both[1], n_shared=1)
    assert scores.shared_accuracy == pytest.approx(shared, abs=0.1)
    assert scores.independent_accuracy == pytest.approx(independent, abs=0.1)
    assert scores.estimated_shared == sum(shared_dims)
    assert scores.squared_error == (sum(shared_dims) - 1) ** 2


def test_there_is_no_accuracy_without_factors_of_a_kind() -> None:
    codes = codes_of(torch.randn(N, 2), [1.0, 0.0], random_factors())
    none, every = (
        codes._replace(shared_factors=torch.full((N, 2), value)) for value in (False, True)
    )
    assert score(none, none, 0).shared_accuracy is None
    assert score(every, every, 2).independent_accuracy is None
    constant = codes._replace(factors=codes.factors * torch.tensor([0, 1]))
    assert score(constant, constant, 1).shared_accuracy is None  # nothing to tell apart


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
