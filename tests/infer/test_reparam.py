# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Partitions as functions of noise sites."""

from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import MCMC, NUTS, SVI, Predictive, Trace_ELBO
from pyro.infer.autoguide import (
    AutoDelta,
    AutoGaussian,
    AutoMultivariateNormal,
    AutoNormal,
    init_to_feasible,
    init_to_sample,
    init_to_uniform,
    init_to_value,
)
from pyro.optim import PyroOptim
from scipy.stats import chisquare, kstest
from torch import Tensor

from pyro_drpm import DRPM
from pyro_drpm.infer import DRPMReparam

OMEGA = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
SCORES = torch.tensor([3.0, 1.0, 0.5], dtype=torch.float64)
CONFIG: Any = {"Y": DRPMReparam()}


def is_partition(value: Tensor) -> bool:
    return bool(((value == 0) | (value == 1)).all() & (value.sum(-2) == 1).all())


def test_partitions_keep_their_law() -> None:
    """Drawn through the noise sites they follow the mass of the distribution they replace."""
    draws, d = 20_000, DRPM(OMEGA, SCORES)

    @poutine.reparam(config=CONFIG)
    def model() -> Tensor:
        with pyro.plate("draws", draws):
            return pyro.sample("Y", d)

    support = d.enumerate_support()
    labels = torch.tensor([9.0, 3.0, 1.0]).double()

    def number(Y: Tensor) -> Tensor:
        return (Y.argmax(-2) * labels).sum(-1).long()

    counts = number(model()).bincount(minlength=27)
    expected = torch.zeros(27).double()
    expected[number(support)] = draws * d.log_prob(support).exp()
    assert expected.min() > 5
    assert chisquare(counts.numpy(), expected.numpy()).pvalue > 1e-3


def test_sites() -> None:
    model = poutine.reparam(lambda: pyro.sample("Y", DRPM(OMEGA, SCORES)), CONFIG)
    trace: Any = poutine.trace(model).get_trace()
    sizes, ordering, Y = (trace.nodes[name] for name in ("Y_sizes", "Y_ordering", "Y"))
    assert sizes["fn"].event_shape == (2, 4)
    assert ordering["fn"].event_shape == (3,)
    assert not sizes["is_observed"] and not ordering["is_observed"]
    assert Y["is_observed"]  # else guides and samplers would look for it
    # Only the noise has a density, the standard one, whatever the parameters.
    gumbel = dist.Gumbel(0.0, 1.0)
    expected = gumbel.log_prob(sizes["value"]).sum() + gumbel.log_prob(ordering["value"]).sum()
    torch.testing.assert_close(trace.log_prob_sum(), expected)
    # The partition is a function of it.
    again = DRPM(OMEGA, SCORES).partition(sizes["value"], ordering["value"])
    assert torch.equal(Y["value"], again)
    assert is_partition(again)


def test_noise_is_standard() -> None:
    @poutine.reparam(config=CONFIG)
    def model() -> Tensor:
        with pyro.plate("draws", 500):
            return pyro.sample("Y", DRPM(OMEGA, SCORES))

    trace: Any = poutine.trace(model).get_trace()
    for name in ("Y_sizes", "Y_ordering"):
        assert kstest(trace.nodes[name]["value"].flatten(), "gumbel_r").pvalue > 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("hard", [True, False])
def test_in_plates_and_to_event(dtype: torch.dtype, hard: bool) -> None:
    log_s = torch.randn(5, 4, dtype=dtype)

    @poutine.reparam(config=CONFIG)
    def model() -> Tensor:
        with pyro.plate("plate", 2):
            d = DRPM(OMEGA.to(dtype), log_s=log_s, hard=hard)
            return pyro.sample("Y", d.expand([2, 5]).to_event(1))

    trace: Any = poutine.trace(model).get_trace()
    trace.compute_log_prob()
    assert trace.nodes["Y_sizes"]["value"].shape == (2, 5, 2, 5)
    assert trace.nodes["Y_ordering"]["value"].shape == (2, 5, 4)
    Y = trace.nodes["Y"]["value"]
    assert Y.shape == (2, 5, 3, 4)
    assert Y.dtype == dtype
    assert is_partition(Y) == hard
    assert trace.nodes["Y_ordering"]["log_prob"].shape == (2,)


def test_single_subset() -> None:
    model = poutine.reparam(lambda: pyro.sample("Y", DRPM(OMEGA[:1], SCORES)), CONFIG)
    assert torch.equal(model(), torch.ones(1, 3).double())


@pytest.mark.parametrize("hard", [True, False])
def test_gradients_reach_noise_and_parameters(hard: bool) -> None:
    log_omega, log_s = (torch.zeros(n, requires_grad=True) for n in (3, 4))
    d = DRPM(log_omega=log_omega, log_s=log_s, hard=hard)
    noise = [torch.randn(shape, requires_grad=True) for shape in d.noise_shapes]

    @poutine.condition(data={"Y_sizes": noise[0], "Y_ordering": noise[1]})
    @poutine.reparam(config=CONFIG)
    def model() -> Tensor:
        return pyro.sample("Y", d)

    loss = (model() * torch.arange(12.0).sin().reshape(3, 4)).sum()
    for grad in torch.autograd.grad(loss, (log_omega, log_s, *noise)):
        assert grad.isfinite().all()
        assert grad.abs().max() > 0


def test_refuses_observed_sites() -> None:
    Y = DRPM(OMEGA, SCORES).sample()
    model = poutine.reparam(lambda: pyro.sample("Y", DRPM(OMEGA, SCORES), obs=Y), CONFIG)
    with pytest.raises(ValueError, match="'Y' to be latent, but it has a value"):
        model()


def test_refuses_initial_values_that_were_asked_for() -> None:
    """Those that a guide proposes by itself are passed over, see the guides below."""
    values = {"Y": DRPM(OMEGA, SCORES).sample()}
    model = poutine.reparam(lambda: pyro.sample("Y", DRPM(OMEGA, SCORES)), CONFIG)
    guide = AutoNormal(model, init_loc_fn=init_to_value(values=values))
    with pytest.raises(ValueError, match="'Y' to be latent, but it has a value"):
        guide()


def test_refuses_other_distributions() -> None:
    model = poutine.reparam(lambda: pyro.sample("Y", dist.Normal(0.0, 1.0)), CONFIG)
    with pytest.raises(ValueError, match="expected a DRPM at site 'Y', but got Normal"):
        model()


@pytest.mark.parametrize("autoguide", [AutoNormal, AutoMultivariateNormal])
def test_autoguides_learn(clusters: Any, autoguide: Any) -> None:
    model = poutine.reparam(clusters.model, config=CONFIG)
    guide = autoguide(model)
    loss = Trace_ELBO(num_particles=300, vectorize_particles=True, max_plate_nesting=0)
    few = Trace_ELBO(num_particles=10, vectorize_particles=True, max_plate_nesting=0)
    svi = SVI(model, guide, PyroOptim(torch.optim.Adam, {"lr": 0.03}), few)
    svi.step()
    before = loss.loss(model, guide)
    for _ in range(150):
        svi.step()
    after = loss.loss(model, guide)
    assert after < before - 1
    assert after > -clusters.log_evidence()
    draws = Predictive(model, guide=guide, num_samples=200, return_sites=("Y",))()["Y"]
    assert is_partition(draws)
    accuracy = (draws.squeeze() * clusters.truth).sum((-1, -2)).mean() / 4
    prior = (clusters.prior.sample((1000,)) * clusters.truth).sum((-1, -2)).mean() / 4
    assert accuracy > prior + 0.2


@pytest.mark.parametrize("hard", [True, False])
@pytest.mark.parametrize("autoguide", [AutoNormal, AutoMultivariateNormal, AutoGaussian])
def test_autoguides_refuse_the_site_itself(autoguide: Any, hard: bool) -> None:
    d = DRPM(OMEGA, SCORES, hard=hard)
    with pytest.raises(ValueError, match=r"handle a partition .*Replace .*infer\.DRPMReparam"):
        autoguide(lambda: pyro.sample("Y", d))()


@pytest.mark.parametrize("d", [DRPM(OMEGA, SCORES), DRPM(OMEGA, SCORES).expand([2]).to_event(1)])
def test_a_partition_cannot_be_learned_as_a_parameter(d: Any) -> None:
    """No optimiser would move it."""
    refused = r"learn a partition as a parameter, .*discrete\. Replace .*infer\.DRPMReparam"
    guide = AutoDelta(lambda: pyro.sample("Y", d))
    with pytest.raises(ValueError, match=refused):
        guide()
    with pytest.raises(ValueError, match=refused):
        pyro.param("Y", d.sample(), constraint=DRPM(OMEGA, SCORES).support)


def test_the_mode_of_a_relaxed_site_is_found(clusters: Any) -> None:
    """A relaxed partition is continuous, so that AutoDelta may learn it."""

    def model() -> None:
        Y = pyro.sample("Y", DRPM(clusters.omega, clusters.s, hard=False))
        pyro.sample("x", clusters.likelihood(Y), obs=clusters.x)

    guide = AutoDelta(model)
    svi = SVI(model, guide, PyroOptim(torch.optim.Adam, {"lr": 0.1}), Trace_ELBO())
    before = svi.step()
    for _ in range(30):
        after = svi.step()
    assert after < before - 1
    assert DRPM(clusters.omega, clusters.s, hard=False).support.check(guide()["Y"])


@pytest.mark.parametrize("init", [init_to_feasible, init_to_uniform, init_to_sample])
@pytest.mark.parametrize("hard", [True, False])
def test_initial_values_are_partitions(init: Any, hard: bool) -> None:
    d = DRPM(OMEGA, SCORES, hard=hard)
    value = init({"fn": d, "name": "Y"})
    assert value.shape == (3, 3) and value.dtype == torch.float64
    assert d.support.check(value)
    assert not value.requires_grad


def test_autodelta_learns_the_noise(clusters: Any) -> None:
    model = poutine.reparam(clusters.model, config=CONFIG)
    guide = AutoDelta(model)
    svi = SVI(model, guide, PyroOptim(torch.optim.Adam, {"lr": 0.05}), Trace_ELBO())
    before = svi.step()
    for _ in range(50):
        after = svi.step()
    assert after < before
    assert is_partition(Predictive(model, guide=guide, num_samples=1)()["Y"])


def test_nuts_on_the_relaxed_model(clusters: Any) -> None:
    """Relaxed partitions of low temperature are about as close to the truth as the posterior's."""

    @poutine.reparam(config=CONFIG)
    def model() -> None:
        d = DRPM(clusters.omega, clusters.s, hard=False, temperature=0.5)
        Y = pyro.sample("Y", d)
        pyro.sample("x", clusters.likelihood(Y), obs=clusters.x)

    mcmc = MCMC(
        NUTS(model, max_tree_depth=3), num_samples=40, warmup_steps=20, disable_progbar=True
    )
    mcmc.run()
    noise = mcmc.get_samples()
    assert set(noise) == {"Y_sizes", "Y_ordering"}
    assert all(value.isfinite().all() for value in noise.values())
    assert all(value.reshape(40, -1).std(0).min() > 0 for value in noise.values())
    draws = Predictive(model, noise, return_sites=("Y",))()["Y"].squeeze()
    assert DRPM(clusters.omega, clusters.s, hard=False).support.check(draws).all()
    posterior = (clusters.log_joint() - clusters.log_evidence()).exp()
    fit = clusters.likelihood(draws).log_prob(clusters.x).mean()
    prior_fit = clusters.likelihood(clusters.prior.sample((1000,))).log_prob(clusters.x).mean()
    exact_fit = (posterior * clusters.likelihood(clusters.partitions).log_prob(clusters.x)).sum()
    assert fit > (prior_fit + exact_fit) / 2
