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
def test_bad(): assert 1 == 2, "a|b"
"""
SLOW_TEST = """
import time
def test_good(): pass
def test_slow(): time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command finds its tests."""
    folder = tmp_path / "tests" / "cuda"
    folder.mkdir(parents=True)
    monkeypatch.setattr(gpu, "TESTS", folder)
    return folder


def test_everything(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    (folder / "test_two.py").write_text(TWO_TESTS)
    gpu.main(gpu.Settings(out))
    with (out / "gpu.csv").open() as file:
        rows = {(r["section"], r["case"], r["quantity"]): r["value"] for r in csv.DictReader(file)}
    assert rows["tests", "tests/cuda", "tests"] == "2"
    assert rows["tests", "tests/cuda", "failures"] == "1"
    assert "a|b" in rows["tests", "test_bad", "failed"]
    for loss in gpu.LOSSES:
        of_step = {
            quantity: float(value)
            for (section, _, quantity), value in rows.items()
            if section == f"step, {loss}"
        }
        assert of_step["kernels"] > 100
        assert of_step["launched, ms"] > of_step["launches alone, ms"] > 0
        assert of_step["launched, ms"] > of_step["traffic alone, ms"] > 0
    minutes = {
        stage: float(value)
        for (section, stage, quantity), value in rows.items()
        if (section, quantity) == ("protocol for digits", "all of it, minutes")
    }
    assert minutes.keys() == {"pretrain", "vade", "vade-frozen", "drpm", "all stages"}
    total = minutes.pop("all stages")
    assert min(minutes.values()) >= 0 and total == pytest.approx(sum(minutes.values()), abs=0.3)
    text = (out / "gpu.md").read_text()
    assert f"| step, guide | {gpu.SMALL.name} | kernels | " in text and "a&#124;b" in text
    assert "left out" not in text
    assert str(out / "gpu.md") in capsys.readouterr().out


def test_slow_tests_are_interrupted_and_the_others_reported(folder: Path, tmp_path: Path) -> None:
    (folder / "test_slow.py").write_text(SLOW_TEST)
    rows = list(gpu.tests(gpu.Settings(tmp_path, minutes=0.2)))
    assert rows[0] == ("tests", "tests/cuda", "interrupted", "no time")
    assert ("tests", "tests/cuda", "tests", "1") in rows
    assert "test_good PASSED" in (tmp_path / "tests.txt").read_text()


def test_tests_that_do_not_begin_report_nothing_of_a_run_before(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "tests.xml").write_text("<testsuites><testsuite/></testsuites>")
    folder.rmdir()
    with pytest.raises(RuntimeError, match=r"tests\.txt says why"):
        list(gpu.tests(gpu.Settings(tmp_path)))
    assert "not found" in (tmp_path / "tests.txt").read_text()


def test_what_fails_is_told_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Iterator[gpu.Row]:
        yield gpu.Row("a", "case", "quantity", "1")
        raise RuntimeError("no\nsuch kernel")

    def good() -> Iterator[gpu.Row]:
        yield gpu.Row("b", "case", "quantity", "2")

    monkeypatch.setattr(gpu, "sections", lambda *_: iter([("a", broken), ("b", good)]))
    rows = list(gpu.measure(gpu.Settings(tmp_path)))
    assert rows == [
        ("a", "case", "quantity", "1"),
        ("a", "", "failed", "RuntimeError: no"),
        ("b", "case", "quantity", "2"),
    ]
    rows = list(gpu.measure(gpu.Settings(tmp_path, minutes=0)))
    assert rows == [("a", "", "left out", "no time"), ("b", "", "left out", "no time")]
