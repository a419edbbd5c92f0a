# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""How threads of the commands wait."""

import os
import subprocess
import sys

import pytest


@pytest.mark.skipif(sys.platform != "linux", reason="other OpenMP libraries tell it differently")
@pytest.mark.parametrize("given", [None, "ACTIVE"])
def test_threads_sleep_unless_told_otherwise(given: str | None) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    environment["OMP_DISPLAY_ENV"] = "true"
    if given is not None:
        environment["OMP_WAIT_POLICY"] = given
    code = "import models.runs.cli, torch"
    command = [sys.executable, "-c", code]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert f"OMP_WAIT_POLICY = '{given or 'PASSIVE'}'" in told.stderr
