# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Trainings in two processes, on two parts of every batch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.training.hardware import own_part
from tests.models.train_in_processes import ROWS, STEPS, K, N
from tests.models.training_checks import read_csv

ROOT = Path(__file__).parents[2]


def python(*args: object) -> str:
    """Run a module in one thread for each process, and give what it prints."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", *map(str, args)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@given(rows=st.integers(1, 20), num_processes=st.integers(1, 6))
def test_parts_are_of_one_size_and_cover_the_batch(rows: int, num_processes: int) -> None:
    batch = torch.arange(rows)
    parts = [own_part(batch, rank, num_processes) for rank in range(num_processes)]
    assert len({len(part) for part in parts}) == 1
    together = torch.cat(parts)
    assert together.unique().tolist() == batch.tolist()
    assert len(together) - rows < num_processes


def test_parts_of_several_tensors_hold_the_same_rows() -> None:
    batch = (torch.arange(7), torch.arange(7) + 10)
    first, second = own_part(batch, 1, 3)
    assert first.tolist() == [1, 4, 0] and (second - first == 10).all()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The same training in one process and in two."""
    directories = {number: tmp_path_factory.mktemp(f"processes-{number}") for number in (1, 2)}
    for number, out in directories.items():
        python("tests.models.train_in_processes", out, number)
    return directories


def checkpoint(out: Path) -> dict[str, Any]:
    return torch.load(out / "fit.ckpt", weights_only=True)


def test_two_processes_train_like_one(trained: dict[int, Path]) -> None:
    one, two = (checkpoint(trained[number]) for number in (1, 2))
    assert one["global_step"] == two["global_step"] == 2 * STEPS
    assert one["state_dict"]["log_s.weight"].shape == (N, 2)
    assert one["state_dict"]["log_omega.weight"].shape == (K, 2)
    torch.testing.assert_close(two["state_dict"], one["state_dict"], rtol=1e-4, atol=1e-5)
    losses = [next(iter(c["callbacks"].values()))["metrics"]["loss"] for c in (one, two)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4) and losses[0][1] < losses[0][0]


def test_every_process_has_its_own_part_and_noise(trained: dict[int, Path]) -> None:
    whole, _ = torch.load(trained[1] / "seen-0.pt")
    (first, noise), (second, other_noise) = (
        torch.load(trained[2] / f"seen-{rank}.pt") for rank in range(2)
    )
    for batch, *parts in zip(whole, first, second, strict=True):
        assert [len(part) for part in parts] == [ROWS // 2] * 2
        assert torch.equal(torch.stack(parts, 1).flatten(0, 1), batch)
    for a, b in zip(noise, other_noise, strict=True):
        assert not torch.isclose(a, b).any()


TINY = {
    "vc": (
        *("--pretrain-epochs", 1, "--epochs", 1, "--num-particles", 2, "--hidden", 8, 8),
        *("--latent-dim", 3, "--batch-size", 500),
    ),
    "vae": (
        *("--n-shared", 3, "--methods", "ada", "drpm", "--image-size", 16, "--width", 4),
        *("--num-features", 8, "--epochs", 1, "--steps-per-epoch", 2, "--batch-size", 5),
        *("--train-pairs", 50, "--test-pairs", 50),
    ),
    "mtl": ("--noise-ratios", 0.3, "--num-features", 8, "--epochs", 1, "--partition", "sample"),
}
TABLES = {"vc": ("table1.csv", 9), "vae": ("table2.csv", 2), "mtl": ("figure4.csv", 2)}


@pytest.mark.parametrize("model", TINY)
def test_every_model_trains_in_two_processes(model: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    processes = ("--device", "cpu", "--devices", 2, "--strategy", "ddp")
    printed = python(f"models.{model}", *TINY[model], *processes, "--out", out)
    table, num_rows = TABLES[model]
    assert len(read_csv(out / table)) == num_rows
    assert printed.count("scores ") == 1  # the first process alone reports
