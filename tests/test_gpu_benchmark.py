# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The command for a GPU, at the size that it has without one."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import gpu

TWO_TESTS = """
def test_good(): pass
def test_bad(): assert 1 == 2
"""


@pytest.fixture(autouse=True)
def _few_tests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "tests" / "cuda"
    folder.mkdir(parents=True)
    (folder / "test_two.py").write_text(TWO_TESTS)
    monkeypatch.setattr(gpu, "TESTS", folder)


def test_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    gpu.main(gpu.Settings(out))
    with (out / "gpu.csv").open() as file:
        rows = {(r["section"], r["case"], r["quantity"]): r["value"] for r in csv.DictReader(file)}
    assert rows["tests", "tests/cuda", "tests"] == "2"
    assert rows["tests", "tests/cuda", "failures"] == "1"
    assert "1 == 2" in rows["tests", "test_bad", "failed"]
    (case,) = gpu.SMALL
    step = {
        quantity: value for (section, name, quantity), value in rows.items() if section == "step"
    }
    assert int(step["kernels"]) > 100
    assert float(step["launched, ms"]) > float(step["traffic alone, ms"]) > 0
    stages = {name for section, name, _ in rows if section == "protocol for digits"}
    assert stages == {"pretrain", "vade", "vade-frozen", "drpm"}
    text = (out / "gpu.md").read_text()
    assert f"| step | {case.name} | kernels | {step['kernels']} |" in text
    assert "left out" not in text
    assert str(out / "gpu.md") in capsys.readouterr().out


def test_what_fails_is_told_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Iterator[gpu.Row]:
        yield gpu.Row("a", "case", "quantity", "1")
        raise RuntimeError("no\nsuch kernel")

    def good() -> Iterator[gpu.Row]:
        yield gpu.Row("b", "case", "quantity", "2")

    monkeypatch.setattr(gpu, "sections", lambda *_: iter([("a", broken), ("b", good)]))
    rows = list(gpu.measure(gpu.Settings(tmp_path)))[2:]
    assert rows == [
        ("a", "case", "quantity", "1"),
        ("a", "", "failed", "RuntimeError: no"),
        ("b", "case", "quantity", "2"),
    ]
    rows = list(gpu.measure(gpu.Settings(tmp_path, minutes=0)))[2:]
    assert rows == [("a", "", "left out", "no time"), ("b", "", "left out", "no time")]
