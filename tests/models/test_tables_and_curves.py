# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""How results are written down: tables of scores and learning curves."""

from __future__ import annotations

import csv
from pathlib import Path

from matplotlib.image import imread

from models.runs.curves import Curves, draw_curves, write_curves
from models.runs.tables import format_table, mean_and_std


def test_mean_and_sample_deviation() -> None:
    assert mean_and_std([0.1, 0.2, 0.6]) == "0.300 ± 0.265"  # sqrt(0.14 / 2)
    assert mean_and_std([2]) == "2.000"


def test_columns_are_aligned_and_never_touch() -> None:
    long = "a name of more than sixteen characters"
    table = format_table(
        ("method", "a title of more than fifteen", "ACC"),
        [("DRPM", "0.1", "0.123 ± 0.004"), (long, "0.2", "1.0")],
    )
    lines = table.splitlines()
    assert len({len(line) for line in lines}) == 1
    ends = [lines[0].index("fifteen") + len("fifteen"), len(lines[0])]
    for line, cells in zip(lines[1:], (("0.1", "0.123 ± 0.004"), ("0.2", "1.0")), strict=True):
        assert all(line[:end].endswith("  " + c) for end, c in zip(ends, cells, strict=True))
    assert lines[2].startswith(long + "  ")


CURVES: Curves = {"pretrain": {"loss": [3.0, 2.0]}, "drpm": {"loss": [1.5], "kl": [0.25]}}


def test_curves_are_written_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "curves.csv"
    write_curves(path, CURVES)
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["stage", "metric", "epoch", "value"]
    assert rows == [
        ["pretrain", "loss", "0", "3.0"],
        ["pretrain", "loss", "1", "2.0"],
        ["drpm", "loss", "0", "1.5"],
        ["drpm", "kl", "0", "0.25"],
    ]


def test_every_stage_has_a_panel(tmp_path: Path) -> None:
    path = tmp_path / "curves.png"
    draw_curves(path, CURVES)
    height, width, _ = imread(path).shape
    assert (width, height) == (2 * 600, 525)
