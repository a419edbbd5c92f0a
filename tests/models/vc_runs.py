# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Runs of ``models.vc`` that take seconds, and what they leave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from models.vc import cli
from models.vc.directory import TABLE
from tests.models.training_checks import error_line

TINY = (
    *("--pretrain-epochs", "4", "--epochs", "5", "--checkpoint-every", "2"),
    *("--hidden", "16", "12", "--latent-dim", "3", "--num-partitions", "3"),
    *("--batch-size", "500", "--device", "cpu"),
)
# Images, clusters and latent dimensions of parts that are small enough to enumerate partitions.
N, K, LATENT = 5, 3, 2
NEIGHBORS = ("--neighbor-epochs", "3", "--cluster-epochs", "3", "--spectral-epochs", "3")
STAGES = ("pretrain", "vade", "vade-frozen", "vade-augmented", "categorical", "drpm")
SEED = Path("contrastive/seed-0")


def run(out: Path, *args: str) -> None:
    cli.main([*TINY, "--out", str(out), *args])


def results(out: Path) -> tuple[str, str]:
    """Everything a run measured: scores and learning curves, digit by digit."""
    return (out / TABLE).read_text(), (out / SEED / "curves.csv").read_text()


def load(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def fail(capsys: pytest.CaptureFixture[str], out: Path, *args: str) -> str:
    return error_line(capsys, lambda: run(out, *args))
