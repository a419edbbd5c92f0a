# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Mixtures whose labels switch, against posteriors with the parameters integrated out."""

import functools
import itertools
from typing import Any

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
from pyro_drpm.infer.subset_moves import SubsetMoves

X = torch.tensor([-1.5, -1.1, 1.2, 1.4, 0.2], dtype=torch.float64)
N, K = 5, 3
LOG_S = torch.linspace(0.5, -0.5, N, dtype=torch.float64)
PRIOR_SCALE, SCALE = 2.0, 0.5
LAWS: dict[str, SizeDistribution] = {
    "fisher": MultivariateFisherHypergeometric(N, torch.tensor([1.0, 2.0, 0.5]).double()),
    "restaurant": PitmanYorSizes(N, K, torch.tensor(1.0).double()),
}


def mixture(law: SizeDistribution) -> None:
    zero = torch.zeros((), dtype=torch.float64)
    with pyro.plate("subsets", K):
        # Of two dims, of which the data see one.
        loc = pyro.sample("loc", dist.Normal(zero, PRIOR_SCALE).expand([K, 2]).to_event(1))
    Y = pyro.sample("Y", DRPM(sizes=law, log_s=LOG_S))
    with pyro.plate("data", N):
        pyro.sample("x", dist.Normal(loc[:, 0] @ Y, SCALE), obs=X)


def log_joint(law: SizeDistribution, labels: Tensor) -> Tensor:
    """With the locations integrated out: members of a subset are normal and correlated."""
    Y = one_hot(labels)
    covariance = PRIOR_SCALE**2 * Y.mT @ Y + SCALE**2 * torch.eye(N, dtype=torch.float64)
    normal = dist.MultivariateNormal(torch.zeros(N, dtype=torch.float64), covariance)
    prior = DRPM(sizes=law, log_s=LOG_S, validate_args=False)
    log_prob: Tensor = prior.log_prob(Y) + normal.log_prob(X)
    return log_prob


def one_hot(labels: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(labels, K).mT.double()


@pytest.mark.parametrize("name", LAWS)
def test_labelled_posterior_of_a_mixture(name: str) -> None:
    law = LAWS[name]
    every = torch.tensor(list(itertools.product(range(K), repeat=N)))
    prob = log_joint(law, every).softmax(0)
    pyro.set_rng_seed(0)
    kernel = PartitionGibbs(mixture, functools.partial(NUTS, max_tree_depth=4))
    mcmc = MCMC(kernel, 400, warmup_steps=50, disable_progbar=True)
    mcmc.run(law)
    codes = mcmc.get_samples()["Y"].argmax(-2) @ (K ** torch.arange(N - 1, -1, -1))
    shares = torch.bincount(codes, minlength=len(prob)) / len(codes)
    independent = dist.Multinomial(400, prob).sample((20,)) / 400
    distance = (shares - prob).abs().sum() / 2
    assert distance < 2.5 * (independent - prob).abs().sum(-1).mean() / 2


def trace(law: SizeDistribution, values: dict[str, Tensor]) -> Any:
    conditioned = pyro.condition(mixture, data=values)
    return pyro.poutine.trace(conditioned).get_trace(law)


def moves(law: SizeDistribution) -> SubsetMoves:
    pyro.set_rng_seed(0)
    run = functools.partial(trace, law)
    return SubsetMoves("Y", run, run({}), np.random.default_rng(0))


def test_empty_subsets_draw_from_the_prior_and_others_stay() -> None:
    law, drawn = LAWS["fisher"], []
    values = {"loc": torch.full((K, 2), 9.0).double(), "Y": one_hot(torch.zeros(N).long())}
    subset_moves = moves(law)
    for _ in range(300):
        before = trace(law, values)
        proposed, log_ratio = subset_moves._refreshed(before, values)
        assert torch.equal(proposed["loc"][0], values["loc"][0])
        # The proposal is the prior, so that nothing but the likelihood could refuse it.
        gain = trace(law, proposed).log_prob_sum() - before.log_prob_sum() + log_ratio
        assert float(gain) == pytest.approx(0, abs=1e-9)
        drawn.append(proposed["loc"][1:])
    assert float(torch.stack(drawn).mean()) == pytest.approx(0, abs=4 * PRIOR_SCALE / 1200**0.5)
    assert float(torch.stack(drawn).std()) == pytest.approx(PRIOR_SCALE, rel=0.1)


def test_members_and_parameters_move_together() -> None:
    subset_moves = moves(LAWS["restaurant"])
    values = {"loc": torch.arange(6.0).view(K, 2).double()}
    values["Y"] = one_hot(torch.tensor([0, 0, 1, 1, 0]))
    seen = set()
    for _ in range(30):
        proposed, _ = subset_moves._permuted(values)
        assert torch.equal(proposed["loc"].mT @ proposed["Y"], values["loc"].mT @ values["Y"])
        assert (proposed["Y"][2] == 0).all(), "empty subsets stay where they are"
        seen.add(tuple(proposed["Y"].argmax(0).tolist()))
    assert seen == {(0, 0, 1, 1, 0), (1, 1, 0, 0, 1)}
