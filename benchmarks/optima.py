# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""How often the search for a point estimate misses the best of all partitions.

``python -m benchmarks.optima`` draws partitions of five to nine items with more or less noise,
searches for the partition of least expected loss, with and without sizes that it is to have, and
compares it with the best of all that have these sizes.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, get_args

import torch
import tyro
from torch import Tensor
from tqdm import trange

from models.runs.tables import format_table, write_csv
from pyro_drpm.partitions import enumerate_partitions, expected_loss, point_estimate
from pyro_drpm.partitions.losses import Loss

NUM_DRAWS, NUM_LABELS = 20, 3
NOISE = (0.3, 0.6, 1.0)
KINDS = ("any sizes", "sizes", "min_size", "max_size", "min_size and max_size")


def problem(seed: int) -> tuple[Tensor, Loss, torch.Generator]:
    """Draws and a loss."""
    generator = torch.Generator().manual_seed(seed)
    n = int(torch.randint(5, 10, (1,), generator=generator))
    center = torch.randint(NUM_LABELS, (n,), generator=generator)
    other = torch.randint(NUM_LABELS + 1, (NUM_DRAWS, n), generator=generator)
    is_noise = torch.rand(NUM_DRAWS, n, generator=generator) < NOISE[seed % len(NOISE)]
    losses = get_args(Loss)
    return torch.where(is_noise, other, center), losses[seed % len(losses)], generator


def wanted(kind: str, sizes: list[list[int]], generator: torch.Generator) -> dict[str, Any]:
    """Arguments of the search."""
    random = sizes[int(torch.randint(len(sizes), (1,), generator=generator))]
    arguments: dict[str, dict[str, Any]] = {
        "any sizes": {},
        "sizes": {"sizes": random},
        "min_size": {"min_size": 2},
        "max_size": {"max_size": 3},
        "min_size and max_size": {"min_size": 2, "max_size": 4},
    }
    return arguments[kind]


def main(cases: int = 500, out: Path = Path("results/partitions")) -> None:
    """Print a table and write it.

    Args:
        cases: Number of problems, each with all kinds of sizes.
        out: Folder of the file.
    """
    missed: Counter[str] = Counter()
    excess: dict[str, float] = dict.fromkeys(KINDS, 0.0)
    for seed in trange(cases):
        draws, loss, generator = problem(seed)
        every = enumerate_partitions(draws.shape[1])
        sizes = [sorted(row.bincount().tolist()) for row in every]
        losses = expected_loss(draws, every, loss)
        for kind in KINDS:
            arguments = wanted(kind, sizes, generator)
            least, most = arguments.get("min_size", 1), arguments.get("max_size", len(draws[0]))
            kept = torch.tensor(
                [
                    least <= size[0] and size[-1] <= most and arguments.get("sizes", size) == size
                    for size in sizes
                ]
            )
            torch.manual_seed(seed)
            found, best = point_estimate(draws, loss, **arguments), float(losses[kept].min())
            missed[kind] += found.expected_loss > best + 1e-9
            excess[kind] = max(excess[kind], found.expected_loss / max(best, 1e-9) - 1)
    rows = [(kind, cases, missed[kind], f"{100 * excess[kind]:.1f}") for kind in KINDS]
    titles = ("wanted", "cases", "missed", "largest excess, %")
    print(format_table(titles, [tuple(map(str, row)) for row in rows]))
    path = out / "optima.csv"
    write_csv(path, titles, rows)
    print(f"table        {path}")


if __name__ == "__main__":
    tyro.cli(main)
