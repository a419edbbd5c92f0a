# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Where guides end that start in different places.

A stochastic block model of 60 nodes in three blocks of 20, and a Gaussian mixture of 60 points in
the plane in three clusters of 20. Both know the sizes; guides have one affinity for every subset
and element. The mixture is fitted with free sizes as well, by enumerating independent labels.
Prints, for each start, the adjusted Rand index and the loss: median, least and greatest over seeds,
each with data of its own, the index of the best of three starts by loss, and the median time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import SVI, TraceEnum_ELBO, config_enumerate
from pyro.optim import PyroOptim
from sklearn.cluster import KMeans
from torch import Tensor
from tqdm import tqdm

from pyro_drpm import DRPM
from pyro_drpm.distributions import FixedSizes
from pyro_drpm.infer import TracePartition_ELBO
from pyro_drpm.metrics import adjusted_rand_index

K, N = 3, 60
SEEDS, STARTS, STEPS = 10, 3, 300
WITHIN, BETWEEN = 0.3, 0.05
SIZES = FixedSizes(torch.full((K,), N // K))
TRUTH = torch.arange(K).repeat_interleave(N // K)
# So that a start says something, but does not decide.
CONFIDENCE = 2.0


class End(NamedTuple):
    """Where a guide ends, and after how many seconds."""

    ari: float
    loss: float
    seconds: float


def one_hot(labels: Tensor) -> Tensor:
    """Rows of the clusters, shape ``(K, N)``."""
    return torch.nn.functional.one_hot(labels, K).mT.float()


def graph() -> Tensor:
    """Adjacency matrix of a block model, zeros on and below the diagonal."""
    same = TRUTH.unsqueeze(1) == TRUTH
    return torch.bernoulli(torch.where(same, WITHIN, BETWEEN)).triu(1)


def blocks(edges: Tensor) -> None:
    """Blocks of known sizes and rates."""
    Y = pyro.sample("Y", DRPM(sizes=SIZES, s=torch.ones(N)))
    rate = BETWEEN + (WITHIN - BETWEEN) * (Y.mT @ Y)
    pairs = dist.Bernoulli(rate).mask(torch.ones(N, N).triu(1).bool())
    pyro.sample("edges", pairs.to_event(2), obs=edges)


def points() -> Tensor:
    """Points of three clusters, about three standard deviations apart."""
    centers = torch.tensor([[0.0, 0.0], [3.0, 0.0], [1.5, 2.6]])
    return centers[TRUTH] + torch.randn(N, 2)


def clusters(x: Tensor) -> None:
    """Clusters of known sizes; their means are learned."""
    loc = pyro.param("loc", centers_of(x))
    Y = pyro.sample("Y", DRPM(sizes=SIZES, s=torch.ones(N)))
    pyro.sample("x", dist.Normal(Y.mT @ loc, 1.0).to_event(2), obs=x)


@config_enumerate
def independent_labels(x: Tensor) -> None:
    """Clusters of free sizes, whose labels are summed out."""
    loc = pyro.param("loc", centers_of(x))
    weight = pyro.param("weight", torch.ones(K) / K, constraint=dist.constraints.simplex)
    with pyro.plate("points", N):
        label = pyro.sample("label", dist.Categorical(weight))
        pyro.sample("x", dist.Normal(loc[label], 1.0).to_event(1), obs=x)


def centers_of(x: Tensor) -> Tensor:
    """Means of the clusters of the start, or of everything plus some noise."""
    start = pyro.param("start").detach()
    weight = start.softmax(0) / start.softmax(0).sum(-1, keepdim=True)
    return weight @ x + 0.1 * torch.randn(K, 2)


def nowhere(data: Tensor) -> Tensor:
    """All affinities alike."""
    return torch.zeros(K, N)


def at_random(data: Tensor) -> Tensor:
    """Normal affinities."""
    return CONFIDENCE * torch.randn(K, N)


def spectral(edges: Tensor) -> Tensor:
    """K-means of the leading eigenvectors of the normalised adjacency matrix."""
    whole = edges + edges.mT
    degree = whole.sum(0).clamp(min=1).rsqrt()
    _, vectors = torch.linalg.eigh(degree * whole * degree.unsqueeze(1))
    return kmeans(vectors[:, -K:])


def kmeans(x: Tensor) -> Tensor:
    """One run of k-means."""
    seed = int(torch.randint(1 << 30, ()))
    labels = KMeans(K, n_init=1, random_state=seed).fit(x.numpy()).labels_
    return CONFIDENCE * one_hot(torch.as_tensor(labels).long())


def fit_partition(model: Callable[[Tensor], None], data: Tensor) -> End:
    """Affinities that are learned, from the parameter ``start``."""

    def partition() -> DRPM:
        log_w = pyro.param("log_w", pyro.param("start").detach().clone())
        return DRPM.from_affinities(log_w, SIZES)

    def guide(data: Tensor) -> None:
        pyro.sample("Y", partition())

    elbo = TracePartition_ELBO(
        estimator="rloo", num_particles=8, vectorize_particles=True, max_plate_nesting=0
    )
    svi = SVI(model, guide, PyroOptim(torch.optim.Adam, {"lr": 0.1}), elbo)
    began = time.perf_counter()
    losses = [svi.step(data) for _ in range(STEPS)]
    seconds = time.perf_counter() - began
    with torch.no_grad():
        labels = partition().sample((200,)).mean(0).argmax(0)
    return End(adjusted_rand_index(TRUTH, labels), statistics.fmean(losses[-50:]), seconds)


def fit_labels(model: Callable[[Tensor], None], x: Tensor) -> End:
    """Independent labels, summed out."""
    elbo = TraceEnum_ELBO(max_plate_nesting=1)
    svi = SVI(model, lambda x: None, PyroOptim(torch.optim.Adam, {"lr": 0.1}), elbo)
    began = time.perf_counter()
    losses = [svi.step(x) for _ in range(STEPS)]
    seconds = time.perf_counter() - began
    distance = torch.cdist(x, pyro.param("loc").detach()).square() / 2
    labels = (pyro.param("weight").detach().log() - distance).argmax(-1)
    return End(adjusted_rand_index(TRUTH, labels), losses[-1], seconds)


class Problem(NamedTuple):
    """What is fitted to which data, from which starts."""

    name: str
    data: Callable[[], Tensor]
    model: Callable[[Tensor], None]
    fit: Callable[[Callable[[Tensor], None], Tensor], End]
    starts: dict[str, Callable[[Tensor], Tensor]]


PROBLEMS = [
    Problem(
        "blocks, known sizes",
        graph,
        blocks,
        fit_partition,
        {"all alike": nowhere, "random": at_random, "spectral": spectral},
    ),
    Problem(
        "points, known sizes",
        points,
        clusters,
        fit_partition,
        {"all alike": nowhere, "random": at_random, "k-means": kmeans},
    ),
    Problem(
        "points, free sizes",
        points,
        independent_labels,
        fit_labels,
        {"all alike": nowhere, "random": at_random, "k-means": kmeans},
    ),
]


def ends(problem: Problem, start: Callable[[Tensor], Tensor], seed: int) -> list[End]:
    """Ends of several starts on the same data."""
    pyro.set_rng_seed(seed)
    data = problem.data()
    found = []
    for _ in range(STARTS):
        pyro.clear_param_store()
        pyro.param("start", start(data))
        found.append(problem.fit(problem.model, data))
    return found


def main() -> None:
    """Prints a table."""
    print(f"{'':<22}{'start':<12}{'ARI':>22}{'loss':>26}{'best of three, ARI':>22}{'seconds':>10}")
    runs = [(problem, name) for problem in PROBLEMS for name in problem.starts]
    for problem, name in tqdm(runs, unit="start"):
        found = [ends(problem, problem.starts[name], seed) for seed in range(SEEDS)]
        best = [min(of_seed, key=lambda end: end.loss).ari for of_seed in found]
        ari, loss, seconds = zip(*(end for of_seed in found for end in of_seed), strict=True)
        cells = f"{_spread(ari, 2):>22}{_spread(loss, 1):>26}{_spread(best, 2):>22}"
        cells += f"{statistics.median(seconds):>10.1f}"
        tqdm.write(f"{problem.name:<22}{name:<12}{cells}")


def _spread(values: tuple[float, ...] | list[float], digits: int) -> str:
    low, high = min(values), max(values)
    return f"{statistics.median(values):.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


if __name__ == "__main__":
    main()
