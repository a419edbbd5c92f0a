# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Gradient-based MCMC over weights and scores, against quadrature."""

from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import HMC, MCMC, NUTS
from torch import Tensor

from pyro_drpm import DRPM

COVARIATE = torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0], dtype=torch.float64)
Y = torch.tensor([[0, 0, 0, 1, 1], [1, 1, 1, 0, 0]], dtype=torch.float64)
NORMAL = dist.Normal(torch.zeros((), dtype=torch.float64), 1.0)
OBSERVED = 4  # partitions alike, so that the posterior is far from the prior


def partition_given(log_odds: Tensor, slope: Tensor) -> DRPM:
    """Subset sizes depend on the one, assignments on the other parameter."""
    log_omega = torch.stack([log_odds, torch.zeros_like(log_odds)], -1)
    return DRPM(omega=log_omega.exp(), s=(slope.unsqueeze(-1) * COVARIATE).exp())


def model() -> None:
    log_odds, slope = pyro.sample("log_odds", NORMAL), pyro.sample("slope", NORMAL)
    with pyro.plate("observed", OBSERVED):
        pyro.sample("Y", partition_given(log_odds, slope), obs=Y.expand(OBSERVED, 2, 5))


def posterior_by_quadrature() -> dict[str, tuple[float, float]]:
    """Mean and standard deviation of each parameter."""
    axis = torch.linspace(-6, 6, 121, dtype=torch.float64)
    grid = dict(zip(("log_odds", "slope"), torch.meshgrid(axis, axis, indexing="ij"), strict=True))
    log_joint = sum(NORMAL.log_prob(x) for x in grid.values())
    log_joint = log_joint + OBSERVED * partition_given(**grid).log_prob(Y)
    weight = (log_joint - log_joint.flatten().logsumexp(0)).exp()
    moments = {}
    for name, x in grid.items():
        mean = (weight * x).sum()
        moments[name] = (mean.item(), (weight * (x - mean) ** 2).sum().sqrt().item())
    return moments


@pytest.mark.parametrize(
    "kernel",
    [
        pytest.param(lambda: NUTS(model, max_tree_depth=4), id="NUTS"),
        pytest.param(lambda: HMC(model, step_size=0.5, num_steps=4), id="HMC"),
    ],
)
def test_posterior_of_weights_and_scores(kernel: Any) -> None:
    mcmc = MCMC(kernel(), num_samples=120, warmup_steps=40, disable_progbar=True)
    mcmc.run()
    samples = mcmc.get_samples()
    for name, (mean, deviation) in posterior_by_quadrature().items():
        assert abs(mean) > 0.5 * deviation, "the prior's mean would pass too"
        # An effective sample of 60 out of 120 draws, at four standard errors.
        assert abs(samples[name].mean() - mean) < 4 * deviation / 60**0.5
        assert 0.7 * deviation < samples[name].std() < 1.4 * deviation


def test_latent_partitions_are_summed_out(clusters: Any) -> None:
    """NUTS enumerates a latent partition by itself."""

    def mixture() -> None:
        log_odds = pyro.sample("log_odds", NORMAL)
        log_omega = torch.stack([log_odds, torch.zeros_like(log_odds)], -1)
        partition = pyro.sample("partition", DRPM(log_omega=log_omega, s=clusters.s))
        pyro.sample("x", clusters.likelihood(partition), obs=clusters.x)

    mcmc = MCMC(
        NUTS(mixture, max_tree_depth=3), num_samples=100, warmup_steps=30, disable_progbar=True
    )
    mcmc.run()
    axis = torch.linspace(-6, 6, 121, dtype=torch.float64)
    log_omega = torch.stack([axis, torch.zeros_like(axis)], -1).unsqueeze(1)
    partitions = clusters.partitions
    log_evidence = (
        DRPM(log_omega=log_omega, s=clusters.s).log_prob(partitions)
        + clusters.likelihood(partitions).log_prob(clusters.x)
    ).logsumexp(1)
    weight = (NORMAL.log_prob(axis) + log_evidence).softmax(0)
    mean = (weight * axis).sum()
    deviation = (weight * (axis - mean) ** 2).sum().sqrt()
    samples = mcmc.get_samples()
    assert set(samples) == {"log_odds"}
    assert abs(samples["log_odds"].mean() - mean) < 4 * deviation / 50**0.5


def test_too_many_partitions_to_sum_out() -> None:
    def mixture() -> None:
        slope = pyro.sample("slope", NORMAL)
        partition = pyro.sample("partition", DRPM(torch.ones(2).double(), torch.ones(17).double()))
        pyro.sample("x", dist.Normal(slope * partition[..., 0, 0], 1.0), obs=torch.ones(()))

    mcmc = MCMC(NUTS(mixture), num_samples=1, warmup_steps=0, disable_progbar=True)
    with pytest.raises(ValueError, match="K=2 and n=17.*hard=False.*DRPMReparam.*SVI"):
        mcmc.run()
