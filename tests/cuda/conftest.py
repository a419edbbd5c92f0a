# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The device of these tests: a GPU where there is one, so that they run everywhere."""

from collections.abc import Iterator

import pyro
import pytest
import torch

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture
def device() -> torch.device:
    return DEVICE


@pytest.fixture(autouse=True)
def _unchecked() -> Iterator[None]:
    """Checks of values wait for the GPU; parameters belong to modules, as in trainings."""
    with pyro.validation_enabled(False), pyro.settings.context(module_local_params=True):
        yield
