# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""How close guides can come to the posterior of a small mixture, in nats.

Six elements fall into three subsets; how well each fits each subset is random. The least divergence
``KL(q || posterior)`` over all parameters of a family of guides is found with the enumerated
posterior, from several starts. Prints the median over targets, for known sizes (two each) and for
free ones, and the time of a mass with one score per element and with one for every subset.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from tqdm import tqdm

from pyro_drpm import DRPM, MultivariateFisherHypergeometric
from pyro_drpm.distributions import FixedSizes, SizeDistribution

K, N = 3, 6
SCALES = [1.0, 2.0]
TARGETS, STARTS = 6, 5
REPETITIONS = 40
EQUAL = torch.full((K,), N // K).double()

LogMass = Callable[[Tensor, Tensor], Tensor]


def sizes_of(log_omega: Tensor, known: bool) -> SizeDistribution:
    """The law of the sizes in the guide."""
    if known:
        return FixedSizes(EQUAL, N)
    return MultivariateFisherHypergeometric(N, log_omega=log_omega)


def by_elements(parameters: Tensor, Y: Tensor, known: bool) -> Tensor:
    """One score per element."""
    sizes = sizes_of(parameters[:K], known)
    return DRPM(sizes=sizes, log_s=parameters[K : K + N], validate_args=False).log_prob(Y)


def by_subsets(parameters: Tensor, Y: Tensor, known: bool) -> Tensor:
    """A score for every subset and element."""
    sizes, log_s = sizes_of(parameters[:K], known), parameters[K:].view(K, N)
    return DRPM(sizes=sizes, log_subset_s=log_s, validate_args=False).log_prob(Y)


def categoricals(parameters: Tensor, Y: Tensor, known: bool) -> Tensor:
    """Independent elements, whose sizes cannot be known."""
    return (parameters[K:].view(K, N).log_softmax(0) * Y).sum((-2, -1))


def posterior(scale: float, seed: int, known: bool) -> tuple[Tensor, Tensor]:
    """All partitions that are possible, and their log-probabilities given the affinities."""
    generator = torch.Generator().manual_seed(seed)
    log_w = scale * torch.randn(K, N, generator=generator, dtype=torch.float64)
    free = MultivariateFisherHypergeometric(N, torch.ones(K).double())
    prior = DRPM(sizes=FixedSizes(EQUAL) if known else free, log_s=torch.zeros(N).double())
    every = prior.enumerate_support()
    log_prior = prior.log_prob(every)
    every, log_prior = every[log_prior.isfinite()], log_prior[log_prior.isfinite()]
    return every, (log_prior + (every * log_w).sum((-2, -1))).log_softmax(0)


def least_divergence(family: Callable[..., Tensor], scale: float, seed: int, known: bool) -> float:
    """The least of several local minima."""
    every, log_posterior = posterior(scale, seed, known)
    generator = torch.Generator().manual_seed(seed)
    least = torch.inf
    for _ in range(STARTS):
        start = torch.randn(K + K * N, generator=generator, dtype=torch.float64)
        parameters = start.requires_grad_()
        optimiser = torch.optim.LBFGS([parameters], max_iter=300, line_search_fn="strong_wolfe")

        def divergence(parameters: Tensor = parameters) -> Tensor:
            log_q = family(parameters, every, known)
            return (log_q.exp() * (log_q - log_posterior)).sum()

        def closure(parameters: Tensor = parameters) -> float:
            value = divergence(parameters)
            (parameters.grad,) = torch.autograd.grad(value, parameters, materialize_grads=True)
            return value.item()

        optimiser.step(closure)
        least = min(least, divergence(parameters).item())
    return least


def mass_milliseconds(partition: DRPM) -> float:
    """Median time of the mass of 100 partitions, and backward."""
    Y = partition.sample((100,))
    seconds = []
    for _ in range(REPETITIONS):
        start = time.perf_counter()
        partition.log_prob(Y).sum().backward()
        seconds.append(time.perf_counter() - start)
    return 1e3 * statistics.median(seconds)


def main() -> None:
    """Prints a table."""
    families = {"one score per element": by_elements, "for every subset": by_subsets}
    rows = [(name, family, True) for name, family in families.items()]
    free = {**families, "independent categoricals": categoricals}
    rows += [(name, family, False) for name, family in free.items()]
    for name, family, known in tqdm(rows, unit="guide"):
        medians = [
            statistics.median(least_divergence(family, scale, t, known) for t in range(TARGETS))
            for scale in SCALES
        ]
        kind = "known sizes" if known else "free sizes"
        values = "  ".join(f"{median:.4f}" for median in medians)
        tqdm.write(f"{kind:<12} {name:<25} {values}")
    torch.manual_seed(0)
    sizes = FixedSizes(torch.tensor([26] * 6 + [25] * 4))
    of_elements, of_subsets = (torch.randn(shape, requires_grad=True) for shape in (256, (10, 256)))
    single = mass_milliseconds(DRPM(sizes=sizes, log_s=of_elements))
    of_rows = mass_milliseconds(DRPM(sizes=sizes, log_subset_s=of_subsets))
    print(
        f"mass and gradient, n=256, K=10, L=100: {single:.1f} ms, for every subset {of_rows:.1f} ms"
    )


if __name__ == "__main__":
    main()
