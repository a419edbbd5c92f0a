# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Pyro's own ELBOs, since the log-mass is exact."""

from typing import Any

import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
from pyro.optim import PyroOptim

from pyro_drpm.infer import TracePartition_ELBO


@pytest.mark.parametrize(
    ("elbo", "pathwise"),
    [
        pytest.param(Trace_ELBO, True, id="Trace_ELBO"),
        pytest.param(TraceMeanField_ELBO, True, id="TraceMeanField_ELBO"),
        pytest.param(TracePartition_ELBO, True, id="TracePartition_ELBO"),
        pytest.param(TraceGraph_ELBO, True, id="TraceGraph_ELBO"),
        pytest.param(Trace_ELBO, False, id="Trace_ELBO-score-function"),
        pytest.param(TraceGraph_ELBO, False, id="TraceGraph_ELBO-score-function"),
    ],
)
def test_learns_the_posterior(clusters: Any, elbo: Any, pathwise: bool) -> None:
    def guide() -> None:
        pyro.sample("Y", clusters.posterior().has_rsample_(pathwise))

    options: dict[str, Any] = {
        "num_particles": 10,
        "vectorize_particles": True,
        "max_plate_nesting": 0,
    }
    if elbo is TracePartition_ELBO:
        options["bound"] = "exact"
    svi = SVI(clusters.model, guide, PyroOptim(torch.optim.Adam, {"lr": 0.05}), elbo(**options))
    before = clusters.exact_loss(clusters.posterior())
    for _ in range(100):
        svi.step()
    q = clusters.posterior()
    after, least = clusters.exact_loss(q), -clusters.log_evidence()
    assert after >= least
    assert after - least < 0.25 * (before - least)
    posterior = (clusters.log_joint() - clusters.log_evidence()).exp()
    best = clusters.partitions[posterior.argmax()]
    assert torch.equal(best, clusters.truth)
    assert q.log_prob(best).exp() > 0.5 * posterior.max()


@pytest.mark.parametrize("elbo", [Trace_ELBO, TraceGraph_ELBO])
def test_loss_is_unbiased(clusters: Any, elbo: Any) -> None:
    vectorized = elbo(num_particles=20_000, vectorize_particles=True, max_plate_nesting=0)
    loss = vectorized.loss(clusters.model, clusters.guide)
    q = clusters.posterior()
    log_ratio = q.log_prob(clusters.partitions) - clusters.log_joint()
    exact = clusters.exact_loss(q)
    variance = (q.log_prob(clusters.partitions).exp() * (log_ratio - exact) ** 2).sum()
    assert abs(loss - exact) < 4 * (variance / 20_000).sqrt()


@pytest.mark.parametrize("elbo", [Trace_ELBO, TraceGraph_ELBO])
def test_score_function_gradient_is_unbiased(clusters: Any, elbo: Any) -> None:
    def guide() -> None:
        pyro.sample("Y", clusters.posterior().has_rsample_(False))

    vectorized = elbo(num_particles=20_000, vectorize_particles=True, max_plate_nesting=0)
    exact_loss = clusters.exact_loss(clusters.posterior())
    params = [pyro.param(name) for name in ("log_omega", "log_s")]
    exact = torch.autograd.grad(exact_loss, params)
    vectorized.loss_and_grads(clusters.model, guide)
    for param, expected in zip(params, exact, strict=True):
        assert param.grad is not None
        assert (param.grad - expected).norm() < 0.07 * torch.cat(exact).norm()


def test_pathwise_gradient_points_along_the_exact_one(clusters: Any) -> None:
    """The gradient of the log-masses by ``Y`` takes part too."""
    vectorized = Trace_ELBO(num_particles=5_000, vectorize_particles=True, max_plate_nesting=0)
    exact_loss = clusters.exact_loss(clusters.posterior())
    params = [pyro.param(name) for name in ("log_omega", "log_s")]
    exact = torch.cat(torch.autograd.grad(exact_loss, params))
    vectorized.loss_and_grads(clusters.model, clusters.guide)
    found = torch.cat([param.grad for param in params if param.grad is not None])
    assert torch.cosine_similarity(found, exact, dim=0) > 0.9


def test_many_partitions_a_step(clusters: Any) -> None:
    """``L`` partitions in a plate, each weighing ``1 / L``."""

    def averaged(program: Any) -> Any:
        def run() -> None:
            with pyro.plate("partitions", 20_000), poutine.scale(scale=1 / 20_000):
                program()

        return run

    loss = Trace_ELBO().loss(averaged(clusters.model), averaged(clusters.guide))
    assert loss == pytest.approx(clusters.exact_loss(clusters.posterior()).item(), rel=0.03)
