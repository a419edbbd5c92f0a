# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Time and quality of what summarises draws of a partition.

``python -m benchmarks.partitions FILE`` reads labels, a draw a line, separated by commas, and
prints for each loss the point estimate's expected loss beside that of the best of the draws.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import get_args

import numpy as np
import torch
import tyro

from pyro_drpm.partitions import expected_loss, point_estimate, similarity_matrix
from pyro_drpm.partitions.losses import Loss


def main(file: tyro.conf.Positional[Path], seed: int = 0) -> None:
    """Print a table.

    Args:
        file: Labels, a draw a line; may be compressed.
        seed: Of the searches.
    """
    draws = torch.from_numpy(np.loadtxt(file, delimiter=",", dtype=int))
    print(f"{len(draws)} draws of {draws.shape[-1]} items, {torch.get_num_threads()} threads")
    start = time.perf_counter()
    similarity_matrix(draws)
    print(f"similarity matrix {time.perf_counter() - start:.3f} s")
    for loss in get_args(Loss):
        torch.manual_seed(seed)
        start = time.perf_counter()
        estimate = point_estimate(draws, loss)
        seconds = time.perf_counter() - start
        best = float(expected_loss(draws, draws, loss).min())
        print(f"{loss:<8}{estimate.expected_loss:.4f} in {seconds:.1f} s, best draw {best:.4f}")


if __name__ == "__main__":
    tyro.cli(main, prog="python -m benchmarks.partitions")
