# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Dirichlet process mixtures of 82 galaxies by ``PartitionGibbs``, and by other means.

``python -m benchmarks.galaxies`` samples two models. That of Escobar and West (1995) has priors on
all that is unknown, and how probable each number of subsets is has been published. In the other the
parameters of the subsets can be integrated out, as Neal's algorithm 3 does, which shares neither
code nor auxiliary variables with this library. Prints the probabilities of the numbers of subsets,
how many independent draws the sampler is worth, and how far apart the density estimates of the
second model are; writes ``results/mcmc/galaxies.csv``.
"""

from __future__ import annotations

import functools
import math
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyro
import pyro.distributions as dist
import torch
import tyro
from numpy.typing import NDArray
from pyro.infer import MCMC, NUTS
from pyro.ops.stats import effective_sample_size
from scipy.stats import t as student
from torch import Tensor

from models.data import load_galaxies
from models.runs.tables import format_table, write_csv
from pyro_drpm import DRPM
from pyro_drpm.distributions import PitmanYorSizes
from pyro_drpm.infer import PartitionGibbs

Floats = NDArray[np.float64]

MAX_SUBSETS = 20
GRID = np.linspace(5.0, 40.0, 141)
# Escobar and West (1995) on 3 to 10 subsets, quoted after others.
PUBLISHED = {3: 0.03, 4: 0.11, 5: 0.22, 6: 0.26, 7: 0.20, 8: 0.11, 9: 0.05, 10: 0.02}


class NormalGamma(NamedTuple):
    """Of the locations and precisions of the second model: tau is Gamma, mu normal given tau."""

    loc: float = 20.0
    weight: float = 1 / 15
    shape: float = 2.0
    rate: float = 1.0

    def updated(self, x: Floats) -> NormalGamma:
        """After some data."""
        n, weight = len(x), self.weight + len(x)
        loc = (self.weight * self.loc + x.sum()) / weight
        squares = ((x - x.mean()) ** 2).sum() if n else 0.0
        between = self.weight * n * (x.mean() - self.loc) ** 2 / weight if n else 0.0
        return NormalGamma(loc, weight, self.shape + n / 2, self.rate + (squares + between) / 2)

    def predictive(self, x: Floats | float) -> Floats:
        """Density of a new datum."""
        scale = math.sqrt(self.rate * (self.weight + 1) / (self.shape * self.weight))
        density: Floats = student.pdf(x, 2 * self.shape, self.loc, scale)
        return density


PRIOR = NormalGamma()


def escobar_west(x: Tensor) -> None:
    """Their model, with an almost flat prior of the mean of the locations."""
    strength = pyro.sample("strength", dist.Gamma(_double(2.0), 4.0))
    mean = pyro.sample("mean", dist.Normal(_double(20.0), 100.0))
    precision = pyro.sample("precision", dist.Gamma(_double(0.5), 50.0))
    with pyro.plate("subsets", MAX_SUBSETS):
        tau = pyro.sample("tau", dist.Gamma(_double(2.0), 1.0))
        mu = pyro.sample("mu", dist.Normal(mean, (precision * tau).rsqrt()))
    _observe(x, mu, tau, strength)


def conjugate(x: Tensor) -> None:
    """The model whose parameters can be integrated out."""
    with pyro.plate("subsets", MAX_SUBSETS):
        tau = pyro.sample("tau", dist.Gamma(_double(PRIOR.shape), PRIOR.rate))
        mu = pyro.sample("mu", dist.Normal(PRIOR.loc, (PRIOR.weight * tau).rsqrt()))
    _observe(x, mu, tau, _double(1.0))


def _observe(x: Tensor, mu: Tensor, tau: Tensor, strength: Tensor) -> None:
    restaurant = PitmanYorSizes(len(x), MAX_SUBSETS, strength)
    Y = pyro.sample("Y", DRPM(sizes=restaurant, s=torch.ones_like(x)))
    subset = Y.argmax(-2)
    with pyro.plate("galaxies", len(x)):
        pyro.sample("x", dist.Normal(mu[subset], tau[subset].rsqrt()), obs=x)


def _double(x: float) -> Tensor:
    return torch.tensor(x, dtype=torch.float64)


def sample(model: functools.partial[None], draws: int, warmup: int) -> Tensor:
    """Partitions, shape ``(draws, MAX_SUBSETS, n)``; prints how many draws they are worth."""
    start = time.perf_counter()
    kernel = PartitionGibbs(model, functools.partial(NUTS, max_tree_depth=5), num_sweeps=5)
    mcmc = MCMC(kernel, draws, warmup_steps=warmup)
    mcmc.run()
    Y: Tensor = mcmc.get_samples()["Y"]
    k = number_of_subsets(Y).double()
    worth, seconds = float(effective_sample_size(k[None])), time.perf_counter() - start
    print(f"{draws} draws in {seconds:.0f} s, worth {worth:.0f} of the number of subsets")
    return Y


def number_of_subsets(Y: Tensor) -> Tensor:
    """Of each draw, shape ``(draws,)``."""
    return (Y.sum(-1) > 0).sum(-1)


def density(x: Floats, Y: Tensor) -> Floats:
    """Predictive density of the second model, the parameters integrated out given each draw."""
    every = [_density(x, labels) for labels in Y.argmax(-2).numpy()]
    return np.mean(every, axis=0)


def _density(x: Floats, labels: NDArray[np.int64]) -> Floats:
    total = PRIOR.predictive(GRID)  # of a new subset, which has the strength 1
    for k in np.unique(labels):
        members = x[labels == k]
        total = total + len(members) * PRIOR.updated(members).predictive(GRID)
    return total / (1 + len(labels))


def collapsed(x: Floats, sweeps: int, rng: np.random.Generator) -> Tensor:
    """Neal's algorithm 3: partitions after each sweep, shape ``(sweeps, MAX_SUBSETS, n)``."""
    labels, every = np.zeros(len(x), np.int64), []
    for _ in range(sweeps):
        for i in range(len(x)):
            labels[i] = -1
            weights = np.zeros(MAX_SUBSETS)
            for k in np.unique(labels[labels >= 0]):
                members = x[labels == k]
                weights[k] = len(members) * float(PRIOR.updated(members).predictive(x[i]))
            new = int((weights == 0).argmax())
            weights[new] = float(PRIOR.predictive(x[i]))
            labels[i] = rng.choice(MAX_SUBSETS, p=weights / weights.sum())
        every.append(labels.copy())
    one_hot: Tensor = torch.nn.functional.one_hot(torch.tensor(np.array(every)), MAX_SUBSETS).mT
    return one_hot.double()


def main(
    draws: int = 4000, warmup: int = 500, seed: int = 0, out: Path = Path("results/mcmc")
) -> None:
    """Print and write tables.

    Args:
        draws: Of each model and sampler.
        warmup: Steps before them.
        seed: Of all random numbers.
        out: Directory of the table.
    """
    pyro.set_rng_seed(seed)
    x = load_galaxies()
    Ys = {
        "Escobar and West": sample(functools.partial(escobar_west, x), draws, warmup),
        "conjugate": sample(functools.partial(conjugate, x), draws, warmup),
    }
    rng = np.random.default_rng(seed)
    Ys["conjugate, algorithm 3"] = collapsed(x.numpy(), warmup + draws, rng)[warmup:]
    shares = {
        name: number_of_subsets(Y).bincount(minlength=MAX_SUBSETS + 1) / draws
        for name, Y in Ys.items()
    }
    header = ["k", "published", *shares]
    rows = [
        [
            str(k),
            str(PUBLISHED.get(k, "")),
            *(f"{float(share[k]):.4f}" for share in shares.values()),
        ]
        for k in range(1, MAX_SUBSETS + 1)
    ]
    print(format_table(header, rows))
    ours, theirs = (density(x.numpy(), Ys[name]) for name in list(Ys)[1:])
    spacing = GRID[1] - GRID[0]
    apart = np.abs(ours - theirs)
    print(
        f"densities: total variation {apart.sum() * spacing / 2:.4f}, largest difference "
        f"{apart.max():.4f} at a peak of {theirs.max():.4f}"
    )
    write_csv(out / "galaxies.csv", header, rows)


if __name__ == "__main__":
    tyro.cli(main, prog="python -m benchmarks.galaxies")
