# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Time and quality of what summarises draws of a partition.

``python -m benchmarks.partitions FILE`` reads labels, a draw a line, separated by commas; without a
file, partitions are drawn from a DRPM. Prints for each loss the point estimate's expected loss
beside that of the best of the draws.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
import tyro
from torch import Tensor

from pyro_drpm import DRPM
from pyro_drpm.partitions import expected_loss, point_estimate, similarity_matrix
from pyro_drpm.partitions.losses import Loss


def main(
    file: tyro.conf.Positional[Path | None] = None,
    num_draws: int = 1000,
    num_items: int = 5000,
    losses: tuple[Loss, ...] = ("binder", "vi", "vi_lb"),
    seed: int = 0,
) -> None:
    """Print a table.

    Args:
        file: Labels, a draw a line; may be compressed.
        num_draws: Number of draws without a file.
        num_items: Number of items without a file.
        losses: Which losses; for others than these the best draw takes minutes to find.
        seed: Of the draws and of the searches.
    """
    torch.manual_seed(seed)
    draws = (
        torch.from_numpy(np.loadtxt(file, delimiter=",", dtype=int))
        if file
        else _drawn(num_draws, num_items)
    )
    print(f"{len(draws)} draws of {draws.shape[-1]} items, {torch.get_num_threads()} threads")
    start = time.perf_counter()
    similarity_matrix(draws)
    print(f"similarity matrix {time.perf_counter() - start:.3f} s")
    for loss in losses:
        torch.manual_seed(seed)
        start = time.perf_counter()
        estimate = point_estimate(draws, loss)
        seconds = time.perf_counter() - start
        best = float(expected_loss(draws, draws, loss).min())
        print(f"{loss:<8}{estimate.expected_loss:.4f} in {seconds:.1f} s, best draw {best:.4f}")


def _drawn(num_draws: int, num_items: int) -> Tensor:
    """Labels ``(draws, n)`` of 20 subsets, with items that are more or less clearly of one."""
    log_s = torch.linspace(0, 0.08 * num_items, num_items)
    return DRPM(log_omega=torch.zeros(20), log_s=log_s).sample((num_draws,)).argmax(-2)


if __name__ == "__main__":
    tyro.cli(main, prog="python -m benchmarks.partitions")
