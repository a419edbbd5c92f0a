# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Code of the documentation that reads images and runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.models import vc_runs
from tests.models.image_files import write_images

BLOCKS = [
    (path, block)
    for path in sorted((Path(__file__).parents[2] / "docs").rglob("*.md"))
    for block in re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
    if "DIRECTORY" in block
]


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Images, and a run that clustered them."""
    images, run = tmp_path_factory.mktemp("images"), tmp_path_factory.mktemp("runs") / "mnist"
    write_images(images)
    methods = ("--methods", "vade-frozen", "drpm", "--pretrainings", "contrastive")
    vc_runs.run(run, "--dataset", "mnist", "--data-dir", str(images), *methods)
    return images, run


@pytest.mark.parametrize(("path", "block"), BLOCKS, ids=[path.stem for path, _ in BLOCKS])
def test_code_of_the_pages_runs(
    path: Path, block: str, directories: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    images, run = directories
    exec(block.replace('"DIRECTORY"', repr(str(images))).replace('"RUN"', repr(str(run))), {})
    assert capsys.readouterr().out
