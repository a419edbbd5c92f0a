# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Mixtures whose labels switch, against posteriors with the parameters integrated out."""

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import MCMC, NUTS
from torch import Tensor

from pyro_drpm import DRPM, MultivariateFisherHypergeometric
from pyro_drpm.distributions import PitmanYorSizes, SizeDistribution
from pyro_drpm.infer import PartitionGibbs
from pyro_drpm.infer.site_sweep import SiteSweep
from pyro_drpm.infer.subset_moves import SubsetMoves
from pyro_drpm.infer.subset_parameters import SubsetParameters

X = torch.tensor([-1.5, -1.1, 1.2, 1.4, 0.2], dtype=torch.float64)
N, K = 5, 3
PRIOR_SCALE, SCALE = 2.0, 0.5


class Prior(NamedTuple):
    """Of the partition, of which the sizes may depend on locations, and of these."""

    law: Callable[[Tensor], SizeDistribution]
    log_s: Tensor
    loc: Tensor


def fisher(loc: Tensor) -> SizeDistribution:
    return MultivariateFisherHypergeometric(N, torch.tensor([1.0, 2.0, 0.5]).double())


def restaurant(loc: Tensor) -> SizeDistribution:
    return PitmanYorSizes(N, K, torch.tensor(1.0).double())


def restaurant_of_the_first(loc: Tensor) -> SizeDistribution:
    return PitmanYorSizes(N, K, loc[..., 0, 1].exp())


LOG_S = torch.linspace(0.5, -0.5, N, dtype=torch.float64)
ZEROS = torch.zeros(max(N, K), dtype=torch.float64)
PRIORS = {
    "fisher": Prior(fisher, LOG_S, ZEROS[:K]),
    "restaurant with scores": Prior(restaurant, LOG_S, ZEROS[:K]),
    "restaurant": Prior(restaurant, ZEROS[:N], ZEROS[:K]),
    "restaurant whose tables differ": Prior(
        restaurant, ZEROS[:N], torch.tensor([0.5, -1.0, 1.5]).double()
    ),
    "restaurant of the first": Prior(restaurant_of_the_first, ZEROS[:N], ZEROS[:K]),
}


def mixture(prior: Prior) -> None:
    with pyro.plate("subsets", K):
        # Of two dims, of which the data see one.
        normal = dist.Normal(prior.loc.unsqueeze(-1), PRIOR_SCALE).expand([K, 2])
        loc = pyro.sample("loc", normal.to_event(1))
    Y = pyro.sample("Y", DRPM(sizes=prior.law(loc), log_s=prior.log_s))
    with pyro.plate("data", N):
        pyro.sample("x", dist.Normal(loc[:, 0] @ Y, SCALE), obs=X)


def log_joint(prior: Prior, labels: Tensor) -> Tensor:
    """With the locations integrated out: members of a subset are normal and correlated."""
    Y = one_hot(labels)
    covariance = PRIOR_SCALE**2 * Y.mT @ Y + SCALE**2 * torch.eye(N, dtype=torch.float64)
    normal = dist.MultivariateNormal(prior.loc @ Y, covariance)
    log_prob: Tensor = log_prior(prior, Y) + normal.log_prob(X)
    return log_prob


def log_prior(prior: Prior, Y: Tensor) -> Tensor:
    """Of partitions, the second dim of the first location integrated out by quadrature."""
    nodes, weights = (torch.from_numpy(x) for x in np.polynomial.hermite_e.hermegauss(40))
    every = []
    for node in nodes:
        loc = torch.full((K, 2), prior.loc[0].item() + PRIOR_SCALE * node.item()).double()
        partitions = DRPM(sizes=prior.law(loc), log_s=prior.log_s, validate_args=False)
        every.append(partitions.log_prob(Y))
    return torch.logsumexp(torch.stack(every) + weights.log().unsqueeze(-1), 0)


def one_hot(labels: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(labels, K).mT.double()


@pytest.mark.statistical
@pytest.mark.parametrize("name", PRIORS)
def test_labelled_posterior_of_a_mixture(name: str) -> None:
    prior = PRIORS[name]
    every = torch.tensor(list(itertools.product(range(K), repeat=N)))
    prob = log_joint(prior, every).softmax(0)
    pyro.set_rng_seed(0)
    kernel = PartitionGibbs(mixture, functools.partial(NUTS, max_tree_depth=2))
    mcmc = MCMC(kernel, 400, warmup_steps=50, disable_progbar=True)
    mcmc.run(prior)
    codes = mcmc.get_samples()["Y"].argmax(-2) @ (K ** torch.arange(N - 1, -1, -1))
    shares = torch.bincount(codes, minlength=len(prob)) / len(codes)
    independent = dist.Multinomial(400, prob).sample((20,)) / 400
    distance = (shares - prob).abs().sum() / 2
    assert distance < 2.5 * (independent - prob).abs().sum(-1).mean() / 2


def trace(prior: Prior, values: dict[str, Tensor]) -> Any:
    conditioned = pyro.condition(mixture, data=values)
    return pyro.poutine.trace(conditioned).get_trace(prior)


def moves(prior: Prior) -> SubsetMoves:
    pyro.set_rng_seed(0)
    run = functools.partial(trace, prior)
    return SubsetMoves("Y", SubsetParameters("Y", run({})), run, np.random.default_rng(0))


def test_empty_subsets_draw_from_the_prior_and_others_stay() -> None:
    prior, drawn = PRIORS["fisher"], []
    values = {"loc": torch.full((K, 2), 9.0).double(), "Y": one_hot(torch.zeros(N).long())}
    subset_moves = moves(prior)
    for _ in range(300):
        before = trace(prior, values)
        proposed, log_ratio = subset_moves._refreshed(before, values)
        assert torch.equal(proposed["loc"][0], values["loc"][0])
        # The proposal is the prior, so that nothing but the likelihood could refuse it.
        gain = trace(prior, proposed).log_prob_sum() - before.log_prob_sum() + log_ratio
        assert float(gain) == pytest.approx(0, abs=1e-9)
        drawn.append(proposed["loc"][1:])
    assert float(torch.stack(drawn).mean()) == pytest.approx(0, abs=4 * PRIOR_SCALE / 1200**0.5)
    assert float(torch.stack(drawn).std()) == pytest.approx(PRIOR_SCALE, rel=0.1)


def test_members_and_parameters_move_together() -> None:
    subset_moves = moves(PRIORS["restaurant"])
    values = {"loc": torch.arange(6.0).view(K, 2).double()}
    values["Y"] = one_hot(torch.tensor([0, 0, 1, 1, 0]))
    seen = set()
    for _ in range(30):
        proposed, _ = subset_moves._permuted(values)
        assert torch.equal(proposed["loc"].mT @ proposed["Y"], values["loc"].mT @ values["Y"])
        assert (proposed["Y"][2] == 0).all(), "empty subsets stay where they are"
        seen.add(tuple(proposed["Y"].argmax(0).tolist()))
    assert seen == {(0, 0, 1, 1, 0), (1, 1, 0, 0, 1)}


@pytest.mark.parametrize("name", PRIORS)
def test_tables_of_a_restaurant_open_and_close_anywhere_if_they_are_alike(name: str) -> None:
    prior = PRIORS[name]
    pyro.set_rng_seed(0)
    run = functools.partial(trace, prior)
    sweep = SiteSweep("Y", SubsetParameters("Y", run({})), run, np.random.default_rng(0))
    loc = torch.tensor([[3.0, 0.5], [1.2, 0.0], [-1.3, -0.5]]).double()
    values = {"loc": loc, "Y": one_hot(torch.tensor([1, 1, 0, 0, 0]))}
    law = DRPM(sizes=prior.law(loc), log_s=prior.log_s)
    moved_to_the_front = 0
    for _ in range(30):
        values = sweep(values)
        assert law.log_prob(values["Y"]) > -torch.inf
        assert torch.equal(values["loc"].sort(0).values, loc.sort(0).values)
        moved_to_the_front += int(values["loc"][0, 0] != 3)
    assert (moved_to_the_front > 0) == (name == "restaurant")
