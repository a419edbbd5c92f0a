# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The command for a GPU, at the size that it has without one."""

from __future__ import annotations

import csv
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks import gpu, protocol

TWO_TESTS = """
def test_good(): pass
def test_bad(): assert 1 == 2, "a|b"
"""
SLOW_TEST = """
import time
from pathlib import Path
def test_good(): pass
def test_slow():
    Path(__file__).with_name("has_begun").touch()
    time.sleep(600)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command finds its tests."""
    folder = tmp_path / "tests" / "cuda"
    folder.mkdir(parents=True)
    monkeypatch.setattr(gpu, "TESTS", folder)
    monkeypatch.setattr(gpu, "DEVICE", torch.device("cpu"))
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
    assert {section for section, _, _ in rows} >= {f"step, {loss}" for loss in gpu.LOSSES}
    stages = {stage for section, stage, _ in rows if section == "protocol for digits"}
    assert stages == {"pretrain", "vade", "vade-frozen", "drpm", "all stages"}
    text = (out / "gpu.md").read_text()
    assert f"| step, guide | {gpu.SMALL.name} | kernels | " in text and "a&#124;b" in text
    assert "left out" not in text
    assert str(out / "gpu.md") in capsys.readouterr().out


def test_floors_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "measure_floor", lambda: gpu.Floor(1e-5, 1e-6, 1e9))
    monkeypatch.setattr(gpu, "seconds_of", lambda run: 0.25)
    rows = {row.quantity: float(row.value) for row in gpu.steps(gpu.SMALL, "guide")}
    assert rows["kernels"] > 100
    assert rows["launches alone, ms"] == pytest.approx(1e-2 * rows["kernels"])
    assert rows["traffic alone, ms"] == pytest.approx(1e3 * 16 * 10_000 / 1e9)
    assert rows["launched, ms"] == 250
    monkeypatch.setattr(gpu, "seconds_of", lambda run: 25.0)
    quantities = [row.quantity for row in gpu.steps(gpu.SMALL, "guide")]
    assert quantities == ["launched, ms", "traffic alone, ms"]


def test_minutes_of_the_protocol_are_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    stages = [
        protocol.Row("one", 256, launched=30.0, replayed=6.0, steps=10_000),
        protocol.Row("two", 256, launched=30.0, replayed=None, steps=10_000),
    ]
    monkeypatch.setattr(protocol, "measure", lambda settings: iter(stages))
    rows = list(gpu.protocol_rows(protocol.Settings("digits")))
    minutes = {row.case: row.value for row in rows if row.quantity == "all of it, minutes"}
    assert minutes == {"one": "1.0", "two": "5.0", "all stages": "6.0"}


def test_slow_tests_are_interrupted_and_the_others_reported(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "test_slow.py").write_text(SLOW_TEST)
    end, has_begun = subprocess.Popen.wait, folder / "has_begun"

    def wait(process: subprocess.Popen[str], timeout: float) -> int:
        if has_begun.exists():
            return end(process, timeout)
        while not has_begun.exists() and process.poll() is None:
            time.sleep(0.1)
        raise subprocess.TimeoutExpired(process.args, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", wait)
    rows = list(gpu.tests(gpu.Settings(tmp_path)))
    assert rows[0] == ("tests", "tests/cuda", "interrupted", "no time")
    assert ("tests", "tests/cuda", "tests", "1") in rows
    assert "test_good PASSED" in (tmp_path / "tests.txt").read_text()


def test_plugins_of_other_packages_are_left_alone(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = tmp_path / "other-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[pytest11]\nother = broken_plugin\n")
    (tmp_path / "broken_plugin.py").write_text("raise RuntimeError")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (folder / "test_two.py").write_text(TWO_TESTS)
    rows = list(gpu.tests(gpu.Settings(tmp_path)))
    assert ("tests", "tests/cuda", "tests", "2") in rows


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
