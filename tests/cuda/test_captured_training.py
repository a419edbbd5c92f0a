# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""A training whose steps are replayed on a GPU ends where the CPU's does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from models.training import captured
from models.training.hardware import Hardware
from tests.cuda.marks import needs_gpu
from tests.models.test_captured import EPOCHS, fit


@needs_gpu
@pytest.mark.filterwarnings("ignore:GPU available but not used")  # the first is the CPU's
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("schedule", ["epochs", "steps"])
def test_replayed_training(
    schedule: str, drop_last: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graphs, make = [], captured.capture

    def capture(run: Callable[[], object]) -> torch.cuda.CUDAGraph:
        graphs.append(make(run))
        return graphs[-1]

    expected = fit(tmp_path / "cpu", schedule, drop_last=drop_last)
    monkeypatch.setattr(captured, "capture", capture)
    found = fit(tmp_path / "gpu", schedule, drop_last=drop_last, hardware=Hardware("cuda"))
    assert len(graphs) == (1 if drop_last else 2)  # one for each size of a batch
    torch.testing.assert_close(found.weight.cpu(), expected.weight)
    for name, losses in expected.curves.items():
        assert len(losses) == EPOCHS
        assert found.curves[name] == pytest.approx(losses, rel=1e-5)
