# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""A partition is a sample site like any other."""

from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import Predictive
from pyro.infer.inspect import get_dependencies
from pyro.ops.provenance import ProvenanceTensor, get_provenance
from torch import Tensor

from pyro_drpm import DRPM
from pyro_drpm.distributions.constraints import partition_matrix

OMEGA = torch.tensor([1.0, 2.0, 0.5])
SCORES = torch.tensor([2.0, 1.0, 0.5, 1.5])
Y = torch.tensor([[1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]])

# What an element is worth in a subset; a sum of a row and a column would depend on sizes alone.
VALUES = torch.arange(12.0).sin().reshape(3, 4)


def model() -> Tensor:
    return pyro.sample("Y", DRPM(OMEGA, SCORES))


def is_partition(value: Tensor) -> bool:
    """Exactly, not up to round-off."""
    return bool(((value == 0) | (value == 1)).all() & (value.sum(-2) == 1).all())


def test_trace() -> None:
    trace: Any = poutine.trace(model).get_trace()
    value = trace.nodes["Y"]["value"]
    assert is_partition(value)
    torch.testing.assert_close(trace.log_prob_sum(), DRPM(OMEGA, SCORES).log_prob(value))


def test_replay() -> None:
    trace: Any = poutine.trace(model).get_trace()
    for _ in range(5):
        replayed: Any = poutine.replay(model, trace=trace)()
        assert replayed is trace.nodes["Y"]["value"]


def test_condition() -> None:
    trace: Any = poutine.trace(poutine.condition(model, data={"Y": Y})).get_trace()
    assert trace.nodes["Y"]["is_observed"]
    torch.testing.assert_close(trace.log_prob_sum(), DRPM(OMEGA, SCORES).log_prob(Y))


def test_condition_on_no_partition() -> None:
    trace: Any = poutine.trace(poutine.condition(model, data={"Y": Y * 0})).get_trace()
    with pytest.raises(ValueError, match="(?s)site 'Y'.*single 1|single 1.*"):
        trace.compute_log_prob()


def test_do() -> None:
    trace: Any = poutine.trace(poutine.do(model, data={"Y": Y})).get_trace()
    assert torch.equal(trace.nodes["_RETURN"]["value"], Y)


def test_block() -> None:
    assert "Y" not in poutine.trace(poutine.block(model, hide=["Y"])).get_trace()
    assert "Y" in poutine.trace(poutine.block(model, hide=["X"])).get_trace()


def test_lift_and_uncondition() -> None:
    observed = poutine.condition(model, data={"Y": Y})
    trace: Any = poutine.trace(poutine.uncondition(observed)).get_trace()
    assert not trace.nodes["Y"]["is_observed"]


def test_scale() -> None:
    observed = poutine.condition(model, data={"Y": Y})
    trace: Any = poutine.trace(poutine.scale(observed, scale=0.25)).get_trace()
    torch.testing.assert_close(trace.log_prob_sum(), 0.25 * DRPM(OMEGA, SCORES).log_prob(Y))


@pytest.mark.parametrize("wrapped", [False, True])
def test_mask(wrapped: bool) -> None:
    mask: Any = torch.tensor([True, False, True])
    log_s = torch.randn(3, 4)

    def masked() -> Tensor:
        d = DRPM(OMEGA, log_s=log_s)
        with pyro.plate("groups", 3):
            if wrapped:
                return pyro.sample("Y", d.mask(mask))
            with poutine.mask(mask=mask):
                return pyro.sample("Y", d)

    trace: Any = poutine.trace(masked).get_trace()
    trace.compute_log_prob()
    site = trace.nodes["Y"]
    assert is_partition(site["value"])
    expected = DRPM(OMEGA, log_s=log_s).log_prob(site["value"]) * mask
    torch.testing.assert_close(trace.log_prob_sum(), expected.sum())


@pytest.mark.parametrize("wrapped", [False, True])
def test_masked_altogether(wrapped: bool) -> None:
    def masked() -> Tensor:
        if wrapped:
            return pyro.sample("Y", DRPM(OMEGA, SCORES).mask(False))
        with poutine.mask(mask=False):
            return pyro.sample("Y", DRPM(OMEGA, SCORES))

    trace: Any = poutine.trace(masked).get_trace()
    assert is_partition(trace.nodes["Y"]["value"])
    assert trace.log_prob_sum() == 0


def test_plate_of_partitions() -> None:
    def many() -> Tensor:
        with pyro.plate("partitions", 100), poutine.scale(scale=1 / 100):
            return pyro.sample("Y", DRPM(OMEGA, SCORES))

    trace: Any = poutine.trace(many).get_trace()
    value = trace.nodes["Y"]["value"]
    assert type(trace.nodes["Y"]["fn"]) is DRPM
    assert value.shape == (100, 3, 4)
    assert is_partition(value)
    assert len(value.flatten(1).unique(dim=0)) > 10
    torch.testing.assert_close(trace.log_prob_sum(), DRPM(OMEGA, SCORES).log_prob(value).mean())


def test_nested_plates() -> None:
    log_omega, log_s = torch.randn(2, 1, 3), torch.randn(5, 4)

    def nested() -> Tensor:
        with pyro.plate("outer", 2, dim=-2), pyro.plate("inner", 5, dim=-1):
            return pyro.sample("Y", DRPM(log_omega=log_omega, log_s=log_s))

    trace: Any = poutine.trace(nested).get_trace()
    trace.compute_log_prob()
    site = trace.nodes["Y"]
    assert site["value"].shape == (2, 5, 3, 4)
    assert site["log_prob"].shape == (2, 5)
    assert is_partition(site["value"])


def test_subsampling() -> None:
    log_s = torch.randn(20, 4)

    def subsampled() -> Tensor:
        with pyro.plate("groups", 20, subsample_size=5) as index:
            return pyro.sample("Y", DRPM(OMEGA, log_s=log_s[index]))

    trace: Any = poutine.trace(subsampled).get_trace()
    index, value = trace.nodes["groups"]["value"], trace.nodes["Y"]["value"]
    assert value.shape == (5, 3, 4)
    expected = 4 * DRPM(OMEGA, log_s=log_s[index]).log_prob(value).sum()
    torch.testing.assert_close(trace.nodes["Y"]["fn"].log_prob(value).sum() * 4, expected)
    torch.testing.assert_close(trace.log_prob_sum(lambda name, _: name == "Y"), expected)


def test_plate_that_does_not_fit() -> None:
    def misfit() -> None:
        with pyro.plate("groups", 4):
            pyro.sample("Y", DRPM(OMEGA, torch.ones(3, 4)))

    with pytest.raises(ValueError, match="(?s)Shape mismatch.*site Y"):
        misfit()


def test_to_event_site() -> None:
    def grouped() -> Tensor:
        return pyro.sample("Y", DRPM(OMEGA, SCORES).expand([6]).to_event(1))

    trace: Any = poutine.trace(grouped).get_trace()
    value = trace.nodes["Y"]["value"]
    assert value.shape == (6, 3, 4)
    torch.testing.assert_close(trace.log_prob_sum(), DRPM(OMEGA, SCORES).log_prob(value).sum())


@pytest.mark.parametrize("parallel", [False, True])
def test_predictive(parallel: bool) -> None:
    """With gradients in the guide's parameters, as after training."""

    def grouped() -> None:
        with pyro.plate("groups", 2):
            drawn = pyro.sample("Y", DRPM(OMEGA, SCORES))
            counts = pyro.deterministic("counts", drawn.sum(-1), event_dim=1)
            pyro.sample("x", dist.Normal(counts, 1.0).to_event(1))

    def guide() -> None:
        log_omega = pyro.param("log_omega", torch.zeros(3))
        log_s = pyro.param("log_s", torch.zeros(4))
        with pyro.plate("groups", 2):
            pyro.sample("Y", DRPM(log_omega=log_omega, log_s=log_s))

    prior = Predictive(grouped, num_samples=30, parallel=parallel)()
    posterior = Predictive(
        grouped, guide=guide, num_samples=30, parallel=parallel, return_sites=("Y", "counts", "x")
    )()
    for draws in (prior, posterior):
        value = draws["Y"]
        assert value.squeeze().shape == (30, 2, 3, 4)
        assert is_partition(value)
        assert partition_matrix.check(value).all()
        assert torch.equal(draws["counts"].squeeze(), value.sum(-1).squeeze())
        assert len(value.squeeze().flatten(1).unique(dim=0)) > 10
    again = Predictive(grouped, posterior_samples={"Y": posterior["Y"]}, parallel=parallel)()
    assert again["x"].squeeze().shape == (30, 2, 3)


def test_custom_likelihood_has_gradients_for_everything() -> None:
    log_omega, log_s = torch.zeros(3, requires_grad=True), torch.zeros(4, requires_grad=True)

    def weighted() -> Any:
        with pyro.plate("draws", 10):
            drawn = pyro.sample("Y", DRPM(log_omega=log_omega, log_s=log_s))
        pyro.factor("fit", (drawn * VALUES).sum())

    loss: Any = poutine.trace(weighted).get_trace().log_prob_sum(lambda name, _: name == "fit")
    for grad in torch.autograd.grad(loss, (log_omega, log_s)):
        assert grad.abs().max() > 0


def test_dependencies() -> None:
    def chained() -> None:
        scale = pyro.sample("scale", dist.Gamma(2.0, 1.0))
        drawn = pyro.sample("Y", DRPM(OMEGA * scale, SCORES))
        pyro.sample("x", dist.Normal(drawn.sum(-1), 1.0).to_event(1), obs=torch.ones(3))

    prior: Any = get_dependencies(chained)["prior_dependencies"]
    assert set(prior["Y"]) == {"Y", "scale"}
    assert set(prior["x"]) == {"x", "Y"}


@pytest.mark.parametrize("hard", [True, False])
def test_provenance_keeps_gradients(hard: bool) -> None:
    """Pyro tracks dependencies, as in ``TraceGraph_ELBO``, by a subclass of tensors."""

    def results(track: bool) -> tuple[list[Tensor], list[Tensor]]:
        leaves = [x.log().requires_grad_() for x in (OMEGA, SCORES)]
        names = ["omega", "s", "value"]
        tracked = [
            ProvenanceTensor(x, frozenset({name})) if track else x
            for name, x in zip(names, (*leaves, Y), strict=True)
        ]
        d = DRPM(log_omega=tracked[0], log_s=tracked[1], hard=hard)
        pyro.set_rng_seed(0)
        outcomes = [(d.rsample((10,)) * VALUES).sum(), d.log_prob(tracked[2])]
        if track:
            assert get_provenance(outcomes[0]) == {"omega", "s"}
            assert get_provenance(outcomes[1]) == {"omega", "s", "value"}
        gradients = [
            grad for x in outcomes for grad in torch.autograd.grad(x, leaves, retain_graph=True)
        ]
        return outcomes, gradients

    for with_, without in zip(results(True), results(False), strict=True):
        for a, b in zip(with_, without, strict=True):
            torch.testing.assert_close(a.as_subclass(Tensor), b)
    assert all(grad.abs().max() > 0 for grad in results(True)[1])
