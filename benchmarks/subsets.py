# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Gradients of a function of a subset of five of ten elements, beside other estimators.

``python -m benchmarks.subsets`` compares the mean gradient over draws with the derivative of the
enumerated mean, in the manner of Ahmed et al., SIMPLE, ICLR 2023. A subset with a given number of
elements is a partition in two subsets of fixed sizes. It has one of two laws: masses proportional
to the products of the elements' weights, or the largest perturbed scores (Plackett-Luce). The
functions are the squared distance of that paper, a quadratic one, and the cross-entropy of a
network. Prints bias, deviation, and the time of a thousand draws and their gradients.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from benchmarks.gradients import compare
from benchmarks.peers import (
    imle_gradient,
    lapsum_partition,
    largest,
    simple_marginals,
)
from models.runs.tables import write_csv
from pyro_drpm import DRPM, MultivariateFisherHypergeometric
from pyro_drpm.distributions import FixedSizes
from pyro_drpm.ops.noise import gumbel
from pyro_drpm.types import Gradient

N, SIZE = 10, 5
DRAWS, TIMED = 40_000, 1000
PARTICLES = 8  # of the score functions, each of which has the mean of the others as baseline
SEEDS = range(5)
RESULTS = Path("results/benchmarks/subsets.csv")

Function = Callable[[Tensor], Tensor]
Estimator = Callable[[Function, Tensor], Tensor]


def squared_distance() -> Function:
    """The function of the paper; for indicators it is linear."""
    target = torch.randn(N).double()
    return lambda z: (z - target).square().sum(-1)


def quadratic() -> Function:
    """A quadratic function with all products."""
    matrix, vector = torch.randn(N, N).double(), torch.randn(N).double()
    return lambda z: ((z @ matrix) * z).sum(-1) + z @ vector


def network() -> Function:
    """Cross-entropy of the class that a network gives to the sum of the features."""
    features = torch.randn(N, 4).double()
    net = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 3)).double()
    return lambda z: -net(z @ features).log_softmax(-1)[..., 0]


FUNCTIONS = {"squared distance": squared_distance, "quadratic": quadratic, "network": network}


def by_weights(theta: Tensor) -> MultivariateFisherHypergeometric:
    """The law whose masses are products of weights: Fisher's, of elements that are there once."""
    return MultivariateFisherHypergeometric(SIZE, log_omega=theta, capacities=[1] * N)


def by_order(theta: Tensor, gradient: Gradient = "flow") -> DRPM:
    """The law of the largest perturbed scores."""
    sizes = FixedSizes(torch.tensor([SIZE, N - SIZE]).double())
    return DRPM(sizes=sizes, log_s=theta, gradient=gradient, validate_args=False)


def exact_by_weights(f: Function, theta: Tensor) -> Tensor:
    """Derivative of the mean over all subsets."""
    theta = theta.clone().requires_grad_()
    chosen = torch.tensor(list(itertools.combinations(range(N), SIZE)))
    shares = theta[chosen].sum(-1).softmax(0)
    z = torch.zeros(len(chosen), N).double().scatter(-1, chosen, 1.0)
    return torch.autograd.grad((shares * f(z).detach()).sum(), theta)[0]


def exact_by_order(f: Function, theta: Tensor) -> Tensor:
    """Derivative of the mean over all orders of the first elements."""
    theta = theta.clone().requires_grad_()
    first = torch.tensor(list(itertools.permutations(range(N), SIZE)))
    rates = theta.exp()[first]
    left = theta.exp().sum() - rates.cumsum(-1) + rates
    shares = (rates / left).prod(-1)
    z = torch.zeros(len(first), N).double().scatter(-1, first, 1.0)
    return torch.autograd.grad((shares * f(z).detach()).sum(), theta)[0]


def indicators(draws: Tensor) -> Tensor:
    """Whether each element is in the subset, from counts ``(*batch, n)`` or ``(*batch, 2, n)``."""
    return draws[..., 0, :] if draws.shape[-2] == 2 else draws


def pathwise(law: Callable[[Tensor], TorchDistribution], f: Function, theta: Tensor) -> Tensor:
    """Gradients of this library's draws."""
    theta = theta.clone().requires_grad_()
    return torch.autograd.grad(f(indicators(law(theta).rsample())).sum(), theta)[0]


def leave_one_out(law: Callable[[Tensor], TorchDistribution], f: Function, theta: Tensor) -> Tensor:
    """Score functions with exact masses; every row stands for several draws."""
    theta = theta[::PARTICLES].unsqueeze(-2).clone().requires_grad_()
    subset = law(theta).expand([len(theta), PARTICLES])
    draws = subset.sample()
    value = f(indicators(draws)).detach()
    baseline = (value.sum(-1, keepdim=True) - value) / (PARTICLES - 1)
    signal = (subset.log_prob(draws) * (value - baseline)).sum() / PARTICLES
    return torch.autograd.grad(signal, theta)[0].squeeze(-2)


def simple(f: Function, theta: Tensor) -> Tensor:
    """Slopes of the function at an exact draw, by way of the exact marginals."""
    theta = theta.clone().requires_grad_()
    z = by_weights(theta.detach()).sample()
    marginals = simple_marginals(theta, SIZE)
    return torch.autograd.grad(f(z + marginals - marginals.detach()).sum(), theta)[0]


def imle(strength: float, f: Function, theta: Tensor) -> Tensor:
    """Perturb-and-MAP, whose draws have this law with Gumbel noise."""
    perturbed = theta + gumbel(theta.shape, theta.device).to(theta)
    z = largest(perturbed, SIZE).requires_grad_()
    (slopes,) = torch.autograd.grad(f(z).sum(), z)
    return imle_gradient(perturbed, SIZE, slopes, strength)


def lapsum(scale: float, f: Function, theta: Tensor) -> Tensor:
    """Slopes of the function at a draw, by way of the soft subset of its perturbed scores."""
    theta = theta.clone().requires_grad_()
    perturbed = theta + gumbel(theta.shape, theta.device).to(theta)
    soft = lapsum_partition(perturbed, torch.tensor([SIZE, N - SIZE]), scale)[..., 0, :]
    z = largest(perturbed.detach(), SIZE)
    return torch.autograd.grad(f(z + soft - soft.detach()).sum(), theta)[0]


class Law(NamedTuple):
    """A law of subsets, its exact gradient and estimators of it."""

    exact: Estimator
    estimators: dict[str, Estimator]


LAWS = {
    "products of weights": Law(
        exact_by_weights,
        {
            "flow": partial(pathwise, by_weights),
            "score function": partial(leave_one_out, by_weights),
            "SIMPLE": simple,
        },
    ),
    "largest scores": Law(
        exact_by_order,
        {
            "flow": partial(pathwise, by_order),
            "score function": partial(leave_one_out, by_order),
            "relaxed": partial(pathwise, partial(by_order, gradient="relaxed")),
            "LapSum, scale 0.5": partial(lapsum, 0.5),
            "LapSum, scale 1": partial(lapsum, 1.0),
            "I-MLE, lambda 0.1": partial(imle, 0.1),
            "I-MLE, lambda 1": partial(imle, 1.0),
        },
    ),
}


def milliseconds(estimate: Estimator, f: Function, theta: Tensor) -> float:
    """Median time of a thousand draws with their gradients."""
    theta = theta.expand(TIMED, -1)
    estimate(f, theta)
    times = []
    for _ in range(10):
        start = time.perf_counter()
        estimate(f, theta)
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def main() -> None:
    """Prints a table and writes it."""
    print(f"{SIZE} of {N} elements, {DRAWS} draws, medians of seeds 0 to {len(SEEDS) - 1}")
    print("relative to the exact gradient: bias (its standard error) and deviation of 8 draws")
    table = []
    for name, law in LAWS.items():
        print(f"\n{name:<20}" + "".join(f"{f:>26}" for f in FUNCTIONS) + f"{'ms':>8}")
        for estimator, estimate in law.estimators.items():
            print(f"{estimator:<20}", end="")
            for function, make in FUNCTIONS.items():
                rows = []
                for seed in SEEDS:
                    torch.manual_seed(seed)
                    f, theta = make(), torch.randn(N).double()
                    found = estimate(f, theta.expand(DRAWS, -1))
                    rows.append(compare(found, law.exact(f, theta)))
                bias, error, spread = torch.tensor(rows).median(0).values.tolist()
                took = milliseconds(estimate, f, theta)
                table.append((name, estimator, function, bias, error, spread, took))
                print(f"{bias:11.3f} ({error:.3f}) {spread:7.2f}", end="")
            print(f"{took:>8.1f}")
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    columns = "law", "estimator", "function", "bias", "standard_error", "deviation", "milliseconds"
    write_csv(RESULTS, columns, table)
    print(f"\ntable        {RESULTS}")


if __name__ == "__main__":
    main()
