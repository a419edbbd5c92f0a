# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The paper's loss, equations 43-46 (47-50 with weights), written out by hand."""

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import Tensor

from pyro_drpm import DRPM
from pyro_drpm.infer import TracePartition_ELBO
from tests import oracles
from tests.oracles import log_assignment, log_size_probabilities, orderings_of

N, K = 5, 3
X = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0], dtype=torch.float64)
LOG_OMEGA = torch.tensor([0.3, -0.5, 0.8], dtype=torch.float64)  # of the guide
LOG_S = torch.tensor([1.0, -0.3, 0.5, 2.0, 0.1], dtype=torch.float64)
PRIOR_LOG_OMEGA = torch.tensor([0.0, 0.4, -0.2], dtype=torch.float64)
PRIOR_LOG_S = torch.tensor([0.2, 0.0, -0.4, 0.3, 0.6], dtype=torch.float64)
PRIOR_MEAN = torch.tensor([-1.0, 0.0, 2.0], dtype=torch.float64)  # of z, per subset
PRIOR_SCALE = torch.tensor([0.5, 1.0, 1.5], dtype=torch.float64)
MEAN = torch.tensor([0.3, -0.2, 1.0, 0.0, -1.1], dtype=torch.float64)
SCALE = torch.tensor([0.2, 0.3, 0.1, 0.5, 0.4], dtype=torch.float64)

# Every partition asks for the same orderings, with the same two vectors of scores.
log_ordering = functools.cache(oracles.log_ordering)


def model() -> None:
    Y = pyro.sample("Y", DRPM(log_omega=PRIOR_LOG_OMEGA, log_s=PRIOR_LOG_S))
    with pyro.plate("elements", N):
        z = pyro.sample("z", dist.Normal(PRIOR_MEAN @ Y, PRIOR_SCALE @ Y))
        pyro.sample("x", dist.Bernoulli(logits=2 * z), obs=X)


def guide() -> None:
    pyro.sample("Y", DRPM(log_omega=LOG_OMEGA, log_s=LOG_S))
    with pyro.plate("elements", N):
        pyro.sample("z", dist.Normal(MEAN, SCALE))


def reconstruction(z: Tensor) -> float:
    """Negative ``E_q[log p(X | Z)]``, equation 43."""
    total = 0.0
    for x, logit in zip(X.tolist(), (2 * z).tolist(), strict=True):
        probability = 1 / (1 + math.exp(-logit))
        total -= math.log(probability if x else 1 - probability)
    return total


def latent_divergence(subsets: list[int]) -> float:
    """``KL[q(Z | X) || p(Z | Y)]`` of Gaussians, equation 44."""
    total = 0.0
    for i, k in enumerate(subsets):
        a, b = MEAN[i].item(), PRIOR_MEAN[k].item()
        q, p = SCALE[i].item(), PRIOR_SCALE[k].item()
        total += math.log(p / q) + (q**2 + (a - b) ** 2) / (2 * p**2) - 0.5
    return total


@functools.cache
def size_terms() -> tuple[float, float]:
    """Means of ``log q(n)`` and ``log p(n)`` over all count vectors."""
    m = torch.full((K,), N)
    q = log_size_probabilities(LOG_OMEGA, m, N)
    p = log_size_probabilities(PRIOR_LOG_OMEGA, m, N)
    means = [sum(math.exp(q[counts]) * of[counts] for counts in q) for of in (q, p)]
    return means[0], means[1]


def lemma_terms(Y: Tensor) -> tuple[float, float]:
    """Equations 45 and 46: sizes with the number of orderings, and the orderings."""
    q, p = size_terms()
    log_orderings = sum(math.log(math.factorial(int(c))) for c in Y.sum(-1))
    highest = max(log_ordering(LOG_S, pi) for pi in itertools.permutations(range(N)))
    given = max(log_ordering(PRIOR_LOG_S, pi) for pi in orderings_of(Y))
    return log_orderings + q - p, highest - given


def tight_terms(Y: Tensor) -> tuple[float, float]:
    sizes, _ = lemma_terms(Y)
    highest = max(log_ordering(LOG_S, pi) for pi in orderings_of(Y))
    given = max(log_ordering(PRIOR_LOG_S, pi) for pi in orderings_of(Y))
    return sizes, highest - given


def exact_terms(Y: Tensor) -> tuple[float, float]:
    q, p = size_terms()
    return q - p, log_assignment(LOG_S, Y) - log_assignment(PRIOR_LOG_S, Y)


@pytest.mark.parametrize(("gamma", "delta"), [(1.0, 1.0), (1.0, 0.01), (0.25, 2.0)])
@pytest.mark.parametrize(
    ("bound", "terms"), [("lemma", lemma_terms), ("tight", tight_terms), ("exact", exact_terms)]
)
def test_loss_by_hand(
    bound: Any, terms: Callable[[Tensor], tuple[float, float]], gamma: float, delta: float
) -> None:
    elbo = TracePartition_ELBO(bound=bound, gamma=gamma, delta=delta)
    for seed in range(5):
        pyro.set_rng_seed(seed)
        trace = poutine.trace(guide).get_trace()
        Y, z = trace.nodes["Y"]["value"], trace.nodes["z"]["value"]
        assert Y is not None and z is not None
        sizes, assignment = terms(Y)
        subsets = Y.argmax(0).tolist()
        expected = reconstruction(z) + latent_divergence(subsets)
        expected += gamma * sizes + delta * assignment
        pyro.set_rng_seed(seed)
        assert elbo.loss(model, guide) == pytest.approx(expected, rel=1e-10)


def test_mean_losses_are_ordered_and_bound_the_evidence() -> None:
    """Over all partitions under the guide, the bounds come in the order of their tightness."""
    partition = DRPM(log_omega=LOG_OMEGA, log_s=LOG_S)
    support = partition.enumerate_support()
    weight = partition.log_prob(support).exp()
    means = []
    for terms in (exact_terms, tight_terms, lemma_terms):
        values = torch.tensor([sum(terms(Y)) for Y in support], dtype=torch.float64)
        means.append((weight * values).sum().item())
    assert 0 < means[0] < means[1] < means[2]
