# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Simulation-based calibration of partitions and continuous sites together.

``python -m benchmarks.gibbs_calibration`` draws many small mixtures from their prior, samples their
posteriors by Gibbs sweeps and NUTS, and counts how the truth ranks among the draws. Where the
sampler is right the ranks are uniform.

References:
    Talts, S., Betancourt, M., Simpson, D., Vehtari, A., Gelman, A.: Validating Bayesian inference
    algorithms with simulation-based calibration. arXiv 1804.06788, 2018.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import torch
import tyro
from pyro import poutine
from pyro.infer import MCMC
from scipy.stats import chisquare
from torch import Tensor

from models.elections.calibration import rank_counts
from models.runs.tables import format_table, write_csv
from pyro_drpm import DRPM
from pyro_drpm.infer import PartitionGibbs

NUM_SUBSETS = 3


def mixtures(number: int, n: int) -> None:
    r"""Many mixtures, in which sizes, scores and locations are latent.

    .. math::
        \log \omega_k \sim N(0, 1), \quad \beta \sim N(0, 1), \quad \mu_k \sim N(1.5 k, 1), \quad
        Y \sim \mathrm{DRPM}(\omega, e^{\beta z}), \quad x_i \sim N(\mu_{y_i}, 1)

    with a covariate ``z`` from -1 to 1.
    """
    zero = torch.zeros((), dtype=torch.float64)
    places = 1.5 * torch.arange(NUM_SUBSETS, dtype=torch.float64)
    covariate = torch.linspace(-1, 1, n, dtype=torch.float64)
    with pyro.plate("mixtures", number, dim=-2):
        log_omega = pyro.sample(
            "log_omega", dist.Normal(zero, 1.0).expand([NUM_SUBSETS]).to_event(1)
        )
        slope = pyro.sample("slope", dist.Normal(zero, 1.0))
        loc = pyro.sample("loc", dist.Normal(places, 1.0).to_event(1))
        Y = pyro.sample("Y", DRPM(log_omega=log_omega, log_s=slope.unsqueeze(-1) * covariate))
        with pyro.plate("data", n, dim=-1):
            mean = (loc.unsqueeze(-2) @ Y).squeeze(-2).squeeze(-2)
            pyro.sample("x", dist.Normal(mean, 1.0))


def quantities(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """What is ranked, shape ``(*draws, mixtures)`` each."""
    Y, found = values["Y"].squeeze(-3), {"slope": values["slope"].squeeze(-1)}
    for k in range(NUM_SUBSETS):
        found[f"log_omega {k}"] = values["log_omega"].squeeze(-2)[..., k]
        found[f"loc {k}"] = values["loc"].squeeze(-2)[..., k]
        found[f"size {k}"] = Y[..., k, :].sum(-1)
    found["first and last together"] = (Y[..., 0] * Y[..., -1]).sum(-1)
    return found


def ranks(number: int, n: int, draws: int, thinning: int, warmup: int, seed: int) -> Any:
    """Ranks of the truth among draws, by quantity; ties are broken at random."""
    pyro.set_rng_seed(seed)
    trace: Any = poutine.trace(mixtures).get_trace(number, n)
    truth = {name: trace.nodes[name]["value"] for name in ("log_omega", "slope", "loc", "Y")}
    conditioned = pyro.condition(mixtures, data={"x": trace.nodes["x"]["value"]})
    mcmc = MCMC(PartitionGibbs(conditioned), draws * thinning, warmup_steps=warmup)
    mcmc.run(number, n)
    drawn = quantities({name: x[::thinning] for name, x in mcmc.get_samples().items()})
    found = {}
    for name, true in quantities(truth).items():
        below, tied = (drawn[name] < true).sum(0), (drawn[name] == true).sum(0)
        found[name] = below + (torch.rand(number) * (tied + 1)).long()
    return found


def main(
    data_sets: int = 300,
    elements: int = 12,
    draws: int = 99,
    thinning: int = 5,
    warmup: int = 300,
    bins: int = 10,
    seed: int = 0,
    out: Path = Path("results/mcmc"),
) -> None:
    """Print a chi-square test of each quantity and write the counts.

    Args:
        data_sets: Number of mixtures.
        elements: Elements of each.
        draws: Draws among which the truth is ranked.
        thinning: Steps from one of them to the next.
        warmup: Steps that adapt the sampler.
        bins: Number of bins, a divisor of one more than the draws.
        seed: Of the data and the sampler.
        out: Folder of the file.
    """
    rows = []
    for name, rank in ranks(data_sets, elements, draws, thinning, warmup, seed).items():
        counts = rank_counts(rank, draws, bins)
        rows.append((name, f"{chisquare(counts.numpy()).pvalue:.3f}", *counts.tolist()))
    titles = ("quantity", "p-value", *(f"bin {b}" for b in range(bins)))
    print(format_table(titles, [tuple(map(str, row)) for row in rows]))
    path = out / "calibration.csv"
    write_csv(path, titles, rows)
    print(f"table        {path}")


if __name__ == "__main__":
    tyro.cli(main)
