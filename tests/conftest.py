# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0
import pyro
import pytest
from hypothesis import settings

# No test is timed, and every run tries the same examples.
settings.register_profile("pyro_drpm", deadline=None, derandomize=True, database=None)
settings.load_profile("pyro_drpm")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Every test draws the same numbers, alone or after others."""
    pyro.set_rng_seed(0)
