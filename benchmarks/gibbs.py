# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Time of Gibbs sweeps of a partition, on models whose parameters are known.

``python -m benchmarks.gibbs`` prints milliseconds per sweep of a normal mixture in the plane, and
writes them to ``results/mcmc/speed.csv``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pyro
import pyro.distributions as dist
import torch
import tyro
from pyro.infer import MCMC
from torch import Tensor

from models.runs.tables import write_csv
from pyro_drpm import DRPM
from pyro_drpm.distributions import FixedSizes, PitmanYorSizes
from pyro_drpm.infer import PartitionGibbs

CASES: dict[str, Callable[[int, int], DRPM]] = {
    "one score per element": lambda n, k: DRPM(torch.ones(k), log_s=torch.randn(n)),
    "every subset": lambda n, k: DRPM(torch.ones(k), log_subset_s=torch.randn(k, n)),
    "equal scores": lambda n, k: DRPM(torch.ones(k), torch.ones(n)),
    "fixed sizes": lambda n, k: DRPM(
        sizes=FixedSizes(torch.full((k,), n / k)), log_s=torch.randn(n)
    ),
    "restaurant": lambda n, k: DRPM(sizes=PitmanYorSizes(n, k, 1.0), s=torch.ones(n)),
    "scores far apart": lambda n, k: DRPM(torch.ones(k), log_s=4 * torch.randn(n)),
}
SHAPES = [(100, 10), (1200, 3), (1000, 10), (1000, 50), (10_000, 10), (100_000, 10)]


def milliseconds(prior: DRPM, num_sweeps: int, seed: int) -> float:
    """Mean time of a sweep, the runs of the model among it."""
    pyro.set_rng_seed(seed)
    num_subsets, n = prior.event_shape
    means = 4 * torch.randn(num_subsets, 2)
    data = means[torch.randint(num_subsets, (n,))] + torch.randn(n, 2)

    def model(x: Tensor) -> None:
        Y = pyro.sample("Y", prior)
        with pyro.plate("data", n):
            pyro.sample("x", dist.Normal(means[Y.argmax(-2)], 1.0).to_event(1), obs=x)

    mcmc = MCMC(PartitionGibbs(model), num_sweeps, warmup_steps=1, disable_progbar=True)
    start = time.perf_counter()
    mcmc.run(data)
    return 1e3 * (time.perf_counter() - start) / (num_sweeps + 1)


def main(elements: int = 2_000_000, seed: int = 0, out: Path = Path("results/mcmc")) -> None:
    """Print a table and write it.

    Args:
        elements: Number of elements that the sweeps of a case move in all, at least ten sweeps.
        seed: Of the data and the sampler.
        out: Folder of the file.
    """
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    rows = []
    for n, num_subsets in SHAPES:
        for name, prior in CASES.items():
            torch.manual_seed(seed)
            num_sweeps = max(10, min(1000, elements // (n * num_subsets)))
            spent = milliseconds(prior(n, num_subsets), num_sweeps, seed)
            rows.append((name, n, num_subsets, num_sweeps, spent))
            print(f"n {n:>7}, K {num_subsets:>3}  {spent:10.2f} ms a sweep, {name}", flush=True)
    titles = ("prior", "n", "K", "sweeps", "ms")
    path = out / "speed.csv"
    write_csv(path, titles, rows)
    print(f"table        {path}")


if __name__ == "__main__":
    tyro.cli(main)
