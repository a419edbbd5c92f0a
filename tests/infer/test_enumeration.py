# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Tiny partitions summed out, or drawn from their exact posterior."""

from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import TraceEnum_ELBO, config_enumerate, infer_discrete
from scipy.stats import chisquare
from torch import Tensor

from pyro_drpm import DRPM, MultivariateFisherHypergeometric


def no_guide(*args: Any) -> None:
    pass


def test_loss_is_the_evidence(clusters: Any) -> None:
    loss = TraceEnum_ELBO(max_plate_nesting=0).loss(config_enumerate(clusters.model), no_guide)
    assert loss == pytest.approx(-float(clusters.log_evidence()), rel=1e-9)


def test_loss_is_the_evidence_in_a_plate(clusters: Any) -> None:
    x = clusters.x + torch.tensor([[0.0], [0.5], [-1.0]])

    def model() -> None:
        with pyro.plate("groups", 3):
            Y = pyro.sample("Y", clusters.prior, infer={"enumerate": "parallel"})
            pyro.sample("x", clusters.likelihood(Y), obs=x)

    log_joint = (
        clusters.prior.log_prob(clusters.partitions).unsqueeze(-1)
        + clusters.likelihood(clusters.partitions).expand([3, 16]).log_prob(x.unsqueeze(1)).mT
    )
    loss = TraceEnum_ELBO(max_plate_nesting=1).loss(model, no_guide)
    assert loss == pytest.approx(-float(log_joint.logsumexp(0).sum()), rel=1e-9)


def test_partitions_beyond_the_capacities_count_nothing(clusters: Any) -> None:
    capacities = torch.tensor([2, 3])

    def model() -> None:
        d = DRPM(clusters.omega, clusters.s, capacities=capacities)
        Y = pyro.sample("Y", d, infer={"enumerate": "parallel"})
        pyro.sample("x", clusters.likelihood(Y), obs=clusters.x)

    possible = clusters.partitions[(clusters.partitions.sum(-1) <= capacities).all(-1)]
    assert 0 < len(possible) < 16
    prior = DRPM(clusters.omega, clusters.s, capacities=capacities)
    log_joint = prior.log_prob(possible) + clusters.likelihood(possible).log_prob(clusters.x)
    loss = TraceEnum_ELBO(max_plate_nesting=0).loss(model, no_guide)
    assert loss == pytest.approx(-float(log_joint.logsumexp(0)), rel=1e-9)


def test_gradient_is_that_of_the_evidence(clusters: Any) -> None:
    def model() -> None:
        d = DRPM(pyro.param("omega", clusters.omega.clone()), pyro.param("s", clusters.s.clone()))
        Y = pyro.sample("Y", d, infer={"enumerate": "parallel"})
        pyro.sample("x", clusters.likelihood(Y), obs=clusters.x)

    TraceEnum_ELBO(max_plate_nesting=0).loss_and_grads(model, no_guide)
    leaves = [clusters.omega.clone().requires_grad_(), clusters.s.clone().requires_grad_()]
    log_evidence = (
        DRPM(*leaves).log_prob(clusters.partitions)
        + clusters.likelihood(clusters.partitions).log_prob(clusters.x)
    ).logsumexp(0)
    for name, expected in zip(
        ("omega", "s"), torch.autograd.grad(-log_evidence, leaves), strict=True
    ):
        torch.testing.assert_close(pyro.param(name).grad, expected)


@pytest.mark.parametrize("pathwise", [True, False])
def test_enumerated_in_the_guide(clusters: Any, pathwise: bool) -> None:
    """The exact ELBO, without noise."""

    @config_enumerate(default="parallel")
    def guide() -> None:
        pyro.sample("Y", clusters.posterior().has_rsample_(pathwise))

    exact = clusters.exact_loss(clusters.posterior())
    params = [pyro.param(name) for name in ("log_omega", "log_s")]
    gradient = torch.autograd.grad(exact, params)
    loss = TraceEnum_ELBO(max_plate_nesting=0).loss_and_grads(clusters.model, guide)
    assert loss == pytest.approx(exact.item(), rel=1e-9)
    for param, expected in zip(params, gradient, strict=True):
        torch.testing.assert_close(param.grad, expected)


def test_enumerated_sizes() -> None:
    def sizes(log_omega: Tensor) -> MultivariateFisherHypergeometric:
        return MultivariateFisherHypergeometric(3, log_omega=log_omega)

    prior, log_omega = sizes(torch.tensor([0.0, 1.0])), torch.tensor([0.5, -0.5])

    def model() -> None:
        pyro.sample("n", prior)

    @config_enumerate(default="parallel")
    def guide() -> None:
        pyro.sample("n", sizes(pyro.param("log_omega", log_omega)))

    loss = TraceEnum_ELBO(max_plate_nesting=0).loss(model, guide)
    log_q = sizes(log_omega).log_prob(prior.enumerate_support())
    log_p = prior.log_prob(prior.enumerate_support())
    assert loss == pytest.approx((log_q.exp() * (log_q - log_p)).sum().item(), rel=1e-5)


def by_index(clusters: Any, draws: int) -> Any:
    """``infer_discrete`` takes values without event dimensions alone: number the partitions."""

    def model() -> Tensor:
        with pyro.plate("draws", draws):
            prior = dist.Categorical(logits=clusters.prior.log_prob(clusters.partitions))
            index = pyro.sample("index", prior, infer={"enumerate": "parallel"})
            Y = clusters.partitions[index]
            pyro.sample("x", clusters.likelihood(Y), obs=clusters.x)
            return Y

    return model


def test_infer_discrete_draws_from_the_posterior(clusters: Any) -> None:
    draws = 5000
    Y = infer_discrete(by_index(clusters, draws), first_available_dim=-2, temperature=1)()
    assert Y.shape == (draws, 2, 4)
    assert ((Y == 0) | (Y == 1)).all()
    assert (Y.sum(-2) == 1).all()
    counts = (Y.unsqueeze(1) == clusters.partitions).all(-1).all(-1).sum(0)
    posterior = (clusters.log_joint() - clusters.log_evidence()).exp()
    expected = draws * posterior
    rare = expected < 5
    pooled = [torch.cat([x[~rare], x[rare].sum(0, keepdim=True)]) for x in (counts, expected)]
    assert expected[rare].sum() > 1
    assert chisquare(*(x.numpy() for x in pooled)).pvalue > 1e-3


def test_infer_discrete_finds_the_most_probable(clusters: Any) -> None:
    Y = infer_discrete(by_index(clusters, 3), first_available_dim=-2, temperature=0)()
    best = clusters.partitions[clusters.log_joint().argmax()]
    assert torch.equal(Y, best.expand(3, 2, 4))
