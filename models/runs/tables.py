# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Tables of results, in plain text and as files."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

__all__ = ["format_table", "mean_and_std", "write_csv"]

_MIN_NAME, _MIN_COLUMN = 16, 15  # characters; room for "0.123 ± 0.004"


def mean_and_std(values: Sequence[float]) -> str:
    """Give the mean of several values and their standard deviation, or a single value.

    The standard deviation is that of a sample, with the denominator ``n - 1``.

    Example:
        >>> mean_and_std([0.5]), mean_and_std([0.5, 0.7])
        ('0.500', '0.600 ± 0.141')
    """
    mean = f"{statistics.fmean(values):.3f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.3f}"


def format_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out a table: a column of names on the left, all others aligned on the right.

    Args:
        header: Titles of the columns.
        rows: A name and the cells of the other columns each.

    Example:
        >>> print(format_table(("method", "NMI"), [("GMM", "0.623"), ("DRPM-VC", "0.705")]))
        method                      NMI
        GMM                       0.623
        DRPM-VC                   0.705
    """
    lines = [header, *rows]
    widths = [max(map(len, column)) + 2 for column in zip(*lines, strict=True)]
    first, others = max(widths[0], _MIN_NAME), [max(width, _MIN_COLUMN) for width in widths[1:]]
    return "\n".join(
        name.ljust(first) + "".join(map(str.rjust, cells, others)) for name, *cells in lines
    )


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table as CSV, every number with all its digits.

    Args:
        path: Where to save the file; its folder is made.
        header: Titles of the columns.
        rows: Their cells.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
