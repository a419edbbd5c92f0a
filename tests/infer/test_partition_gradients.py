# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Gradients of the loss against those of the enumerated loss."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, TraceMeanField_ELBO
from pyro.optim import PyroOptim
from torch import Tensor

from pyro_drpm import DRPM
from pyro_drpm.infer import TracePartition_ELBO
from tests.infer.enumerated_losses import DELTA, GAMMA, check_unbiased, enumerated, lowest

BOUNDS: list[Any] = ["exact", "tight", "lemma"]
DRAWS = 20_000

every_bound = pytest.mark.parametrize("bound", BOUNDS)


def each_gradient(
    bound: Any, q: DRPM, p: DRPM, draws: int, **options: Any
) -> tuple[Tensor, Tensor]:
    """Gradients of the loss at each of many draws, for log-weights and log-scores."""
    leaves = [x.detach().expand(draws, -1).clone().requires_grad_() for x in (q.log_omega, q.log_s)]

    def model() -> None:
        with pyro.plate("draws", draws):
            pyro.sample("Y", p)

    def guide() -> None:
        with pyro.plate("draws", draws):
            pyro.sample("Y", DRPM(log_omega=leaves[0], log_s=leaves[1]))

    loss = TracePartition_ELBO(bound, GAMMA, DELTA, **options).differentiable_loss(model, guide)
    of_omega, of_s = torch.autograd.grad(loss, leaves)
    return of_omega.double(), of_s.double()


@pytest.mark.statistical
@every_bound
@pytest.mark.parametrize("scale", [0.0, 1.0, 4.0, 8.0])
@pytest.mark.parametrize(("n", "num_subsets"), [(5, 2), (5, 3), (4, 5)])
def test_no_bias(bound: Any, scale: float, n: int, num_subsets: int) -> None:
    torch.manual_seed(n + num_subsets)
    log_omega = torch.randn(num_subsets, dtype=torch.float64, requires_grad=True)
    log_s = (scale * torch.linspace(1, -1, n)).double().requires_grad_()
    q = DRPM(log_omega=log_omega, log_s=log_s)
    p = DRPM(
        log_omega=torch.randn(num_subsets, dtype=torch.float64),
        log_s=2 * torch.randn(n, dtype=torch.float64),
    )
    objective = enumerated(bound, q, p, GAMMA, DELTA)
    for draws, exact in zip(
        each_gradient(bound, q, p, DRAWS),
        torch.autograd.grad(objective, (log_omega, log_s)),
        strict=True,
    ):
        check_unbiased(draws, exact)


@pytest.mark.statistical
def test_no_bias_in_float32_and_with_the_relaxations_gradient() -> None:
    torch.manual_seed(0)
    log_omega, log_s = torch.randn(3, requires_grad=True), torch.randn(5, requires_grad=True)
    q = DRPM(log_omega=log_omega, log_s=log_s, gradient="relaxed")
    p = DRPM(log_omega=torch.randn(3), log_s=torch.randn(5))
    exact = torch.autograd.grad(enumerated("exact", q, p, GAMMA, DELTA), (log_omega, log_s))
    for draws, x in zip(each_gradient("exact", q, p, DRAWS), exact, strict=True):
        check_unbiased(draws, x.double())


@every_bound
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [50.0, 300.0])
def test_finite_and_small_however_far_apart_the_scores(
    bound: Any, dtype: torch.dtype, scale: float
) -> None:
    torch.manual_seed(0)
    q = DRPM(log_omega=torch.zeros(3, dtype=dtype), log_s=scale * torch.randn(6, dtype=dtype))
    p = DRPM(log_omega=torch.zeros(3, dtype=dtype), log_s=scale * torch.randn(6, dtype=dtype))
    for draws in each_gradient(bound, q, p, 200):
        assert draws.isfinite().all()
        assert draws.abs().max() < 50 * scale, "a few differences of log-masses"


PRIORS = {
    "two subsets": ([0.0, 0.0], [3.0, 1.0, -1.0, -3.0]),
    "equal scores": ([1.0, -1.0, 0.0], [0.0, 0.0, 0.0, 0.0]),
    "three subsets": ([0.5, 0.0, -0.5], [-2.0, 2.0, 0.0, 1.0]),
}


@pytest.mark.statistical
@every_bound
@pytest.mark.parametrize("name", PRIORS)
def test_training_from_flat_parameters_reaches_the_minimum(bound: Any, name: str) -> None:
    """Within a tenth of the way to the minimum of the enumerated loss."""
    prior_omega, prior_s = (torch.tensor(x, dtype=torch.float64) for x in PRIORS[name])
    p = DRPM(log_omega=prior_omega, log_s=prior_s)

    def posterior() -> DRPM:
        log_omega = pyro.param("log_omega", torch.zeros_like(prior_omega))
        log_s = pyro.param("log_s", torch.zeros_like(prior_s))
        return DRPM(log_omega=log_omega, log_s=log_s)

    flat = DRPM(log_omega=torch.zeros_like(prior_omega), log_s=torch.zeros_like(prior_s))
    start = enumerated(bound, flat, p).item()
    svi = SVI(
        lambda: pyro.sample("Y", p),
        lambda: pyro.sample("Y", posterior()),
        PyroOptim(torch.optim.Adam, {"lr": 0.05}),
        TracePartition_ELBO(bound, num_particles=8, vectorize_particles=True, max_plate_nesting=0),
    )
    for _ in range(200):
        svi.step()
    reached = enumerated(bound, posterior(), p).item()
    if bound == "exact":
        least = 0.0  # the divergence of the prior from itself
    else:
        least = lowest(lambda q: enumerated(bound, q, p), prior_omega, prior_s)
    assert reached <= least + 0.1 * (start - least) + 1e-3


def test_no_noise_where_guide_and_model_agree() -> None:
    """Neither loss nor gradient has any, draw by draw."""
    torch.manual_seed(0)
    log_omega, log_s = torch.randn(3, dtype=torch.float64), torch.randn(6, dtype=torch.float64)
    q, p = (DRPM(log_omega=log_omega, log_s=log_s) for _ in range(2))
    for draws in each_gradient("exact", q, p, 50):
        assert draws.abs().max() < 1e-12
    loss = TracePartition_ELBO().loss(lambda: pyro.sample("Y", p), lambda: pyro.sample("Y", q))
    assert loss == pytest.approx(0, abs=1e-12)


@pytest.mark.statistical
@pytest.mark.parametrize("estimator", ["flow", "rloo"])
def test_what_follows_a_masked_site_has_its_gradient(estimator: Any) -> None:
    """A mask takes the site's own terms away, but it is drawn as it would be."""
    torch.manual_seed(0)
    w = torch.zeros(DRAWS, 2, dtype=torch.float64, requires_grad=True)
    s = torch.randn(4, dtype=torch.float64).expand(DRAWS, 4).clone().requires_grad_()
    value = torch.tensor([3.0, -1.0, 2.0, 0.5], dtype=torch.float64)

    def model() -> None:
        with pyro.plate("draws", DRAWS):
            with poutine.mask(mask=False):
                Y = pyro.sample("Y", DRPM(torch.ones(2).double(), torch.ones(4).double()))
            pyro.factor("f", Y[..., 0, :] @ value)

    def guide() -> None:
        with pyro.plate("draws", DRAWS), poutine.mask(mask=False):
            pyro.sample("Y", DRPM(log_omega=w, log_s=s))

    elbo = TracePartition_ELBO(
        estimator=estimator, num_particles=4, vectorize_particles=True, max_plate_nesting=1
    )
    estimates = torch.autograd.grad(elbo.differentiable_loss(model, guide), (w, s))
    leaves = [x[0].detach().clone().requires_grad_() for x in (w, s)]
    q = DRPM(log_omega=leaves[0], log_s=leaves[1])
    Y = q.enumerate_support()
    exact = torch.autograd.grad(-(q.log_prob(Y).exp() * (Y[:, 0] @ value)).sum(), leaves)
    for estimate, x in zip(estimates, exact, strict=True):
        check_unbiased(estimate, x)


@pytest.mark.parametrize("scores", ["log_assignment", "assignment_changes"])
def test_no_mass_of_a_masked_site_is_computed(scores: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any) -> None:
        raise AssertionError(scores)

    monkeypatch.setattr(DRPM, scores, fail)
    w = torch.zeros(2, requires_grad=True)

    def partition(masked: bool) -> None:
        with pyro.plate("draws", 5), poutine.mask(mask=not masked):
            pyro.sample("Y", DRPM(log_omega=w, log_s=torch.zeros(4)))

    loss = TracePartition_ELBO().differentiable_loss
    assert loss(lambda: partition(True), lambda: partition(True)) == 0
    with pytest.raises(AssertionError, match=scores):
        loss(lambda: partition(False), lambda: partition(True))


def test_vectorized_particles_may_not_multiply_a_likelihood(clusters: Any) -> None:
    """A plate after a partition adds a dim to the left of the particles, which then count twice."""

    def model(in_plate: bool) -> None:
        Y = pyro.sample("Y", clusters.prior)
        likelihood = dist.Normal((clusters.locations.unsqueeze(-1) * Y).sum(-2), 0.7)
        if in_plate:
            with pyro.plate("elements", 4):
                pyro.sample("x", likelihood, obs=clusters.x)
        else:
            pyro.sample("x", likelihood.to_event(1), obs=clusters.x)

    elbo = TracePartition_ELBO(num_particles=8, vectorize_particles=True)
    with pytest.raises(ValueError, match=r"site 'x' has batch shape .*to_event\(1\)"):
        elbo.loss(lambda: model(True), clusters.guide)
    losses = [
        e.loss(lambda: model(False), clusters.guide)
        for e in (
            TracePartition_ELBO(num_particles=2_000, vectorize_particles=True, max_plate_nesting=0),
            TracePartition_ELBO(num_particles=200),
        )
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1.0)


class Renamed(DRPM):
    """A subclass with a mode of its own, but the same masses."""

    @property
    def mode(self) -> Tensor:
        return super().mode.flip(-1)


def test_subclasses_with_the_same_masses_have_the_same_gradients(clusters: Any) -> None:
    gradients = []
    for family in (DRPM, Renamed):
        pyro.set_rng_seed(1)
        log_s = torch.zeros(4, dtype=torch.float64, requires_grad=True)

        def guide(family: Any = family, log_s: Tensor = log_s) -> None:
            pyro.sample("Y", family(log_omega=torch.zeros(2).double(), log_s=log_s))

        loss = TracePartition_ELBO().differentiable_loss(clusters.model, guide)
        gradients.append(torch.autograd.grad(loss, log_s)[0])
    torch.testing.assert_close(gradients[0], gradients[1])


def test_divergences_of_other_sites_are_those_of_pyro() -> None:
    """Transformed distributions with tensor parameters are compared, not taken for equal."""

    def program(loc: float) -> None:
        shift = dist.transforms.AffineTransform(torch.tensor(loc), torch.tensor(1.0))
        pyro.sample("z", dist.TransformedDistribution(dist.Normal(0.0, 1.0), [shift]))
        pyro.sample("w", dist.Weibull(torch.tensor(1.0 + loc), torch.tensor(2.0)))
        pyro.sample("k", dist.Kumaraswamy(torch.tensor(1.0 + loc), torch.tensor(2.0)))
        pyro.sample("x", dist.Normal(torch.tensor(loc), 1.0))

    losses = []
    for elbo in (TracePartition_ELBO(num_particles=3), TraceMeanField_ELBO(num_particles=3)):
        pyro.set_rng_seed(0)
        losses.append(elbo.loss(lambda: program(0.0), lambda: program(3.0)))
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert abs(losses[0]) > 5


def test_losses_without_gradients(clusters: Any) -> None:
    """They can be evaluated where nothing is differentiated, by Pyro's own ELBO as well."""
    log_s = torch.zeros(4, dtype=torch.float64)  # constant

    def guide() -> None:
        pyro.sample("Y", DRPM(log_omega=torch.zeros(2).double(), log_s=log_s))

    for elbo in (TracePartition_ELBO(), TraceMeanField_ELBO()):
        svi = SVI(clusters.model, guide, PyroOptim(torch.optim.Adam, {}), elbo)
        assert svi.step() > 0
        assert svi.evaluate_loss() > 0
        with torch.no_grad():
            assert elbo.loss(clusters.model, clusters.guide) > 0
