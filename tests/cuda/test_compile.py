# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""A compiled step is that of the same operations one by one.

This takes longest by far, and this file is one of the first of its folder, so that it begins early.
"""

from __future__ import annotations

import pytest
import torch
from packaging.version import Version
from torch.distributions import Distribution

from tests.cuda.marks import needs_gpu
from tests.cuda.steps import STEPS

# Older releases compile them in several pieces.
IN_ONE_GRAPH = Version(torch.__version__) >= Version("2.13")


@needs_gpu  # without one, compiled steps have tests of their own
@pytest.mark.filterwarnings("ignore")  # the compiler's own, which differ between releases
def test_compile(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    # The compiler switches off the validation of all distributions, for good.
    monkeypatch.setattr(Distribution, "_validate_args", Distribution._validate_args)
    step = STEPS["draws-flow-20"](device)
    loss = torch.compile(
        step.loss,
        fullgraph=IN_ONE_GRAPH,
        options={"fallback_random": True},  # its own random numbers are others
    )
    compiled = step._replace(loss=loss)
    for seed in range(2):
        torch.manual_seed(seed)
        expected = step()
        torch.manual_seed(seed)
        for a, b in zip(compiled(), expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)
        step.change_parameters()
