# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Bias and spread of gradient estimators for functions of a partition that people use.

Compares the mean gradient over draws with the derivative of the enumerated mean, for six elements
in at most three subsets: the default gradient, the paper's relaxation, and the score function with
the mean of seven other draws as the baseline. The functions are a quadratic one, the cross-entropy
of a network that sees one subset at a time, Gaussian clusters whose means are integrated out, and
the sum of the logarithms of mixtures whose weights are the shares of the subsets.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from pyro_drpm import DRPM
from pyro_drpm.types import Gradient

N, K = 6, 3
DRAWS = 40_000
PARTICLES = 8
SEEDS = range(5)

Function = Callable[[Tensor], Tensor]


def quadratic(size: int = N * K) -> Function:
    """A quadratic function of all entries."""
    matrix, vector = torch.randn(size, size).double(), torch.randn(size).double()

    def f(Y: Tensor) -> Tensor:
        flat = Y.flatten(-2)
        return ((flat @ matrix) * flat).sum(-1) + flat @ vector

    return f


def network() -> Function:
    """Cross-entropy of the classes that a network gives to the elements of each subset."""
    features, classes = torch.randn(N, 4).double(), torch.randint(3, (N,))
    net = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 3)).double()

    def f(Y: Tensor) -> Tensor:
        logits = net(Y.unsqueeze(-1) * features).sum(-2)  # one prediction for each subset
        target = Y @ nn.functional.one_hot(classes, 3).double()
        return -(target * logits.log_softmax(-1)).sum((-1, -2))

    return f


def collapsed_clusters() -> Function:
    """Log-evidence of Gaussian clusters with means from N(0, 9) integrated out."""
    x = 2 * torch.randn(N).double()

    def f(Y: Tensor) -> Tensor:
        size, total = Y.sum(-1), Y @ x
        return (9 * total.square() / (1 + 9 * size) / 2 - (1 + 9 * size).log() / 2).sum(-1)

    return f


def log_mixtures() -> Function:
    """Log-likelihoods under mixtures with the shares of the subsets as weights, summed."""
    density = torch.randn(50, K).double().exp()

    def f(Y: Tensor) -> Tensor:
        return ((Y.sum(-1) / N + 1e-6) @ density.T).log().sum(-1)

    return f


FUNCTIONS: dict[str, Callable[[], Function]] = {
    "quadratic": quadratic,
    "network, cross-entropy": network,
    "collapsed Gaussian clusters": collapsed_clusters,
    "logarithms of mixtures": log_mixtures,
}


def draws_of(f: Function, log_omega: Tensor, log_s: Tensor, gradient: Gradient) -> list[Tensor]:
    """Gradients of many draws, ``(draws, K)`` and ``(draws, n)``."""
    leaves = [x.expand(DRAWS, -1).clone().requires_grad_() for x in (log_omega, log_s)]
    Y = DRPM(log_omega=leaves[0], log_s=leaves[1], gradient=gradient).rsample()
    return list(torch.autograd.grad(f(Y).sum(), leaves))


def leave_one_out(f: Function, log_omega: Tensor, log_s: Tensor) -> list[Tensor]:
    """The same of score functions; one row stands for ``PARTICLES`` draws."""
    rows = DRAWS // PARTICLES
    leaves = [x.expand(rows, 1, -1).clone().requires_grad_() for x in (log_omega, log_s)]
    partition = DRPM(log_omega=leaves[0], log_s=leaves[1]).expand([rows, PARTICLES])
    Y = partition.sample()
    value = f(Y).detach()
    baseline = (value.sum(-1, keepdim=True) - value) / (PARTICLES - 1)
    signal = (partition.log_prob(Y) * (value - baseline)).sum() / PARTICLES
    return [x.flatten(0, 1) for x in torch.autograd.grad(signal, leaves)]


def exact(f: Function, log_omega: Tensor, log_s: Tensor) -> list[Tensor]:
    """Derivatives of the mean over all partitions."""
    leaves = [x.clone().requires_grad_() for x in (log_omega, log_s)]
    partition = DRPM(log_omega=leaves[0], log_s=leaves[1])
    Y = partition.enumerate_support()
    return list(torch.autograd.grad((partition.log_prob(Y).exp() * f(Y).detach()).sum(), leaves))


ESTIMATORS: dict[str, Callable[[Function, Tensor, Tensor], list[Tensor]]] = {
    "flow": lambda f, log_omega, log_s: draws_of(f, log_omega, log_s, "flow"),
    "relaxed": lambda f, log_omega, log_s: draws_of(f, log_omega, log_s, "relaxed"),
    "rloo": leave_one_out,
}


def compare(estimates: Tensor, gradient: Tensor) -> list[float]:
    """Bias, its standard error and the deviation of eight draws, relative to the gradient."""
    size = gradient.norm()
    if size < 1e-9:  # of a function of the sizes alone, for the scores
        return [math.nan] * 3
    spread = estimates.std(0).norm() / size
    number = len(estimates)
    bias = (estimates.mean(0) - gradient).norm() / size
    return [float(bias), float(spread) / math.sqrt(number), float(spread) * _of_eight(number)]


def _of_eight(number: int) -> float:
    """Deviation of the mean of eight draws, relative to that of one of so many estimates."""
    return math.sqrt(DRAWS / number / 8)


def main() -> None:
    """Prints a table."""
    print(f"n = {N}, K = {K}, {DRAWS} draws, medians of seeds 0 to {len(SEEDS) - 1}")
    print("relative to the exact gradient: bias (its standard error) and deviation of 8 draws")
    for name, make in FUNCTIONS.items():
        for estimator, gradients in ESTIMATORS.items():
            rows = []
            for seed in SEEDS:
                torch.manual_seed(seed)
                problem = make(), torch.randn(K).double(), torch.randn(N).double()
                pairs = zip(gradients(*problem), exact(*problem), strict=True)
                rows.append([compare(estimates, gradient) for estimates, gradient in pairs])
            medians = torch.tensor(rows).median(0).values.tolist()
            cells = [
                f"{of}: {bias:6.3f} ({error:.3f}) {spread:6.2f}"
                for of, (bias, error, spread) in zip(("omega", "s"), medians, strict=True)
            ]
            print(f"{name:<28} {estimator:<8} " + "   ".join(cells))


if __name__ == "__main__":
    main()
