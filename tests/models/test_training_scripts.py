# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""What DRPM-VAE and DRPM-MTL have in common: files of a run, resumption, errors and help."""

from __future__ import annotations

import shutil
from pathlib import Path

import joblib
import pytest
from matplotlib.image import imread

from tests.models.scripts import SCRIPTS, Script
from tests.models.training_checks import assert_help_shows, run_killed

pytestmark = pytest.mark.usefixtures("one_thread")

MTL_STEPS = 20  # per epoch
# Steps after which a run is killed: before the first checkpoint of a stage and after it. An epoch
# of vae has 10 steps; every second one writes a checkpoint.
KILLS = {
    "vae": [("hg", 5), ("hg", 25), ("drpm", 27)],
    "mtl": [("uls", 3), ("uls", 2 * MTL_STEPS + 3), ("drpm", 3), ("drpm", 2 * MTL_STEPS + 3)],
}


@pytest.fixture(params=SCRIPTS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def script(name: str) -> Script:
    return SCRIPTS[name]


@pytest.fixture
def finished(name: str, request: pytest.FixtureRequest) -> Path:
    """A run that was never killed. Tests that change it copy it."""
    out: Path = request.getfixturevalue(f"finished_{name}_run")
    return out


def test_a_run_leaves_its_figures_and_checkpoints(script: Script, finished: Path) -> None:
    curves = [f"{repetition}/curves.png" for repetition in script.repetitions]
    for figure in (*script.figures, *curves):
        assert imread(finished / figure)[..., :3].std() > 0.01, figure
    for directory in (finished / repetition for repetition in script.repetitions):
        for method in script.methods:
            assert (directory / f"{method}.ckpt").is_file()
            assert list((directory / "logs" / method).glob("events.out.tfevents*"))


def test_a_killed_run_ends_with_the_same_results(
    name: str, script: Script, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    methods = tuple(dict.fromkeys(method for method, _ in KILLS[name]))
    some = (*script.part, "--methods", *methods)
    kills = [(script.training, *kill) for kill in KILLS[name]]
    table = tmp_path / script.table
    run_killed(monkeypatch, lambda *args: script.run(tmp_path, *some, *args), kills, table)
    script.assert_same(tmp_path, finished, methods)


def test_two_trainings_at_once_give_the_same_results(
    script: Script, finished: Path, tmp_path: Path
) -> None:
    methods = (script.methods[0], script.methods[-1])
    with joblib.parallel_config("loky", inner_max_num_threads=1):
        script.run(tmp_path, "--jobs", "2", "--methods", *methods, *script.part)
    script.assert_same(tmp_path, finished, methods)


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("vae", "--n-shared 8", "n_shared must be numbers from 0 to 7, but is (8,)"),
        ("vae", "--n-shared -1 0", "n_shared must be numbers from 0 to 7, but is (-1, 0)"),
        ("vae", "--n-shared 3 3", "n_shared must hold different values, but is (3, 3)"),
        ("vae", "--methods ada ada", "methods must hold different values, but is ('ada', 'ada')"),
        ("vae", "--data-dir nowhere", "data_dir is for mpi3d and dsprites, but is nowhere"),
        ("vae", "--dataset own", "dataset own and data belong together"),
        ("vae", "--data nowhere.npz", "nowhere.npz does not exist"),
        ("vae", "--jobs 0", "jobs must be positive, but is 0"),
        ("vae", "--devices 0", "devices must be positive, but is 0"),
        (
            "vae",
            "--jobs 3 --devices 2",
            "jobs must be 1 where several devices train together, but is 3",
        ),
        ("vae", "--beta 0", "beta must be positive, but is 0.0"),
        ("vae", "--delta -1", "delta must not be negative, but is -1.0"),
        ("vae", "--dataset mpi3d", "pass its directory as data_dir"),
        ("vae", "--dataset dsprites --data-dir nowhere", "nowhere"),
        ("mtl", "--noise-ratios 0 1.5", "noise_ratios must be numbers from 0 to 1, but one is 1.5"),
        ("mtl", "--num-tasks 0 10", "num_tasks must be positive, but one is 0"),
        ("mtl", "--noise-ratios 0 0", "noise_ratios must hold different values, but is (0.0, 0.0)"),
        ("mtl", "--methods uls uls", "methods must hold different values, but is ('uls', 'uls')"),
        ("mtl", "--epochs 0", "epochs must be positive, but is 0"),
        ("mtl", "--size-weight -1", "size_weight must not be negative, but is -1.0"),
        ("mtl", "--dataset celeba", "pass the directory of the three as data_dir"),
        ("mtl", "--dataset multi-mnist --data-dir nowhere", "nowhere"),
    ],
)
def test_bad_arguments_are_one_line(
    name: str, args: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in SCRIPTS[name].fail(capsys, tmp_path / "out", *args.split())
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_resumed_is_one_line(
    script: Script, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "there is no run in" in script.fail(capsys, tmp_path / "none", "--resume")
    other = script.fail(capsys, finished, "--resume", "--learning-rate", "0.5")
    assert "learning_rate = " in other and "not 0.5" in other
    out = tmp_path / "damaged"
    shutil.copytree(finished, out)
    path = out / script.repetitions[-1] / "drpm.ckpt"
    path.write_bytes(path.read_bytes()[:1000])
    assert str(path) in script.fail(capsys, out, "--resume")


def test_the_help_shows_the_defaults_of_the_dataset(
    script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_help_shows(capsys, script.main, "Learning rate (Adam).", script.learning_rates)
