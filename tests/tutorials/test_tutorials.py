# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The tutorials run, are stored with their outputs, and are part of the documentation."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
TUTORIALS = sorted((ROOT / "tutorials").glob("*.ipynb"))

tutorial = pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)


@tutorial
def test_tutorial_runs_at_smoke_size(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMOKE_TEST", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=300, resources=resources).execute()


@tutorial
def test_tutorial_is_stored_with_its_outputs(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not any(output.output_type == "error" for output in outputs)
    assert not any(output.get("name") == "stderr" for output in outputs)


@tutorial
def test_tutorial_asks_and_answers(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    assert text.startswith("# ")
    assert "**Question.**" in text
    assert "**Answer.**" in text


def test_documentation_lists_all_tutorials() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    assert TUTORIALS
    assert all(f"\ntutorials/{path.stem}\n" in index for path in TUTORIALS)
