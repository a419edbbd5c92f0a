# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The documentation builds without warnings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyro_drpm
import pyro_drpm.partitions

ROOT = Path(__file__).parents[1]


def test_documentation_builds_without_warnings(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going"]
    result = subprocess.run(
        [*command, ROOT / "docs", tmp_path / "html"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    pages = tmp_path / "html" / "api"
    for page, names in {
        "distributions.html": pyro_drpm.__all__,
        "partitions.html": pyro_drpm.partitions.__all__,
    }.items():
        text = (pages / page).read_text()
        assert all(f".{name}" in text for name in names)
    # Formulas need no network.
    assert (tmp_path / "html" / "_static" / "mathjax").is_dir()
