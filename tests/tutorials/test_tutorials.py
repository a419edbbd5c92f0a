# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The tutorials run, are stored with their outputs, and are part of the documentation."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
TUTORIALS = sorted((ROOT / "tutorials").glob("*.ipynb"))

# Numbers in the text that no output and no code of the tutorial has, and why.
EXEMPT = {
    "clustering_digits": {"2023": "year of the paper", "5.1": "section of the paper"},
    "exact_and_relaxed": {
        "2023": "year of the paper",
        "4.2": "lemma of the paper",
        "65,536": "limit of enumeration in the package",
    },
    "grouped_times": {
        "1980": "year of a book",
        "1994": "year of a paper",
        "81": "volume of a journal",
    },
    "how_many_clusters": {
        "0.14": "1.15 less 1.01",
        "1990": "year of a paper",
        "1995": "year of a paper",
        "2025": "year of a paper",
        "85": "volume of a journal",
        "82": "the galaxies, which the code lists",
        "95": "level of the ball, the default of credible_ball",
        "2506.16295": "number of a paper",
    },
    "known_sizes": {},
    "partitions_in_five_minutes": {"65,536": "limit of enumeration in the package"},
    "posterior_of_partitions": {
        "65,536": "limit of enumeration in the package",
        "80": "counts: ten tenths of five scores and three weights",
    },
    "shared_and_independent_factors": {
        "4.2": "lemma of the paper",
        "5.2": "section of the paper",
    },
    "rankings_with_ties": {
        "1976": "year of a paper",
        "1977": "year of the mission",
        "2002": "year of the election",
        "2013": "year of a paper",
        "2021": "year of a paper",
        "475": "number of the ballots",
    },
    "sizes_you_choose": {"10^16": "30! / (6!^5 5!) = 1.1e16 ways"},
    "task_partition": {"5.3": "section of the paper"},
    "your_own_model": {},
}

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


def numbers(text: str) -> list[str]:
    """Numbers of two digits and more, with decimals and separators of thousands."""
    found = re.findall(r"(?<![\w.^])\d[\d,]*(?:\.\d+|\^\d+)?(?![\w^])", text)
    found = [number.rstrip(",") for number in found]
    return [number for number in found if len(re.sub(r"\D", "", number)) > 1]


def prose(cells: list[nbformat.NotebookNode]) -> str:
    """The text without code, formulas and addresses."""
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    for pattern in (r"```.*?```", r"`[^`]*`", r"\$\$.*?\$\$", r"\$[^$]*\$", r"https?://\S+"):
        text = re.sub(pattern, " ", text, flags=re.DOTALL)
    return text


def unsupported(cells: list[nbformat.NotebookNode]) -> list[str]:
    """Numbers in the text that neither outputs nor code have, up to rounding of the outputs."""
    code = [cell for cell in cells if cell.cell_type == "code"]
    outputs = [
        output.get("text", "") or output.get("data", {}).get("text/plain", "")
        for cell in code
        for output in cell.outputs
    ]
    shown = [
        token.replace(",", "").replace("_", "")
        for text in [*outputs, *(cell.source for cell in code)]
        for token in re.findall(r"\d[\d_]*(?:,\d{3})*(?:\.\d+)?", text)
    ]
    missing = []
    for number in numbers(prose(cells)):
        plain = number.replace(",", "")
        digits = len(plain.partition(".")[2])
        rounded = {f"{float(token):.{digits}f}" for token in shown} if "^" not in plain else set()
        if plain not in rounded:
            missing.append(number)
    return missing


@tutorial
def test_numbers_of_the_text_are_those_of_the_outputs(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    exempt = EXEMPT[path.stem]
    missing = unsupported(cells)
    assert not set(missing) - exempt.keys(), "not in the stored outputs, nor in the code"
    assert not exempt.keys() - set(missing), "need no exemption any more"


def test_numbers_that_no_output_has_are_found() -> None:
    code = nbformat.v4.new_code_cell("n = 60", outputs=[])
    code.outputs = [nbformat.v4.new_output("stream", text="share 0.531, loss 4.92, 25600\n")]
    text = nbformat.v4.new_markdown_cell("`9.9` $8.8$ 0.53 and 0.54, 60 of 25,600; 4.88, 10^17")
    assert unsupported([code, text]) == ["0.54", "4.88", "10^17"]


@tutorial
def test_subsets_are_counted_from_zero_in_pictures_and_text(path: Path) -> None:
    text = prose(nbformat.read(path, as_version=4).cells)
    assert not re.search(r"subset 1 (picks|takes) first|the first subset", text)


def test_documentation_lists_all_tutorials() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    assert TUTORIALS
    assert all(f"\ntutorials/{path.stem}\n" in index for path in TUTORIALS)
