# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Pyro's compiled losses and potentials are those that are not compiled.

Tracing warns of every shape that becomes a number; who compiles knows that shapes stay, and says so
with ``ignore_jit_warnings``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import (
    MCMC,
    NUTS,
    JitTrace_ELBO,
    JitTraceEnum_ELBO,
    JitTraceMeanField_ELBO,
    Trace_ELBO,
    TraceEnum_ELBO,
)
from pyro.infer.mcmc.util import initialize_model
from torch import Tensor

from pyro_drpm import DRPM
from pyro_drpm.infer import DRPMReparam
from pyro_drpm.types import Gradient

# Torch's own, from 2.13 on.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.trace. is deprecated")

SIZES = [("log_omega", 3), ("log_s", 5)]
SHAPES = {**dict(SIZES), "loc": 1}


def model() -> None:
    Y = pyro.sample("Y", DRPM(torch.ones(3), torch.ones(5)))
    z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
    locations = z + torch.arange(3.0) @ Y
    pyro.sample("x", dist.Normal(locations, 1.0).to_event(1), obs=torch.arange(5.0))


def guide(gradient: Gradient) -> None:
    log_omega, log_s, loc = (pyro.param(name, torch.zeros(size)) for name, size in SHAPES.items())
    pyro.sample("Y", DRPM(log_omega=log_omega, log_s=log_s, gradient=gradient))
    pyro.sample("z", dist.Normal(loc, 1.0).to_event(1))


def steps(elbo: Any, gradient: Gradient, number: int) -> Tensor:
    """Losses and gradients at parameters that change from step to step."""
    guide_ = partial(guide, gradient)
    pyro.clear_param_store()
    guide_()
    results = []
    for step in range(number + 1):
        torch.manual_seed(step)
        parameters = [pyro.param(name) for name in SHAPES]
        for parameter in parameters:
            parameter.data = torch.randn_like(parameter)
            parameter.grad = None
        loss = torch.tensor([elbo.loss_and_grads(model, guide_)])
        results.append(torch.cat([loss, *(p.grad for p in parameters if p.grad is not None)]))
    return torch.stack(results[1:])  # the first one compiles and draws more noise


@pytest.mark.parametrize("gradient", ["flow", "relaxed"])
@pytest.mark.parametrize(
    ("plain", "compiled"), [(Trace_ELBO, JitTrace_ELBO), (TraceEnum_ELBO, JitTraceEnum_ELBO)]
)
def test_steps(plain: Any, compiled: Any, gradient: Gradient) -> None:
    options = {"max_plate_nesting": 0, "strict_enumeration_warning": False}
    expected = steps(plain(**options), gradient, 3)
    found = steps(compiled(**options, ignore_jit_warnings=True), gradient, 3)
    assert expected.shape == (3, 1 + sum(SHAPES.values()))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_mean_field() -> None:
    """With a guide that is the model the loss is the same for all noise.

    Pyro's compiled loss draws other noise for the same seed, with any distribution.
    """

    def certain() -> None:
        pyro.sample("Y", DRPM(torch.ones(3), torch.ones(5)))
        pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
        pyro.sample("x", dist.Normal(torch.zeros(()), 1.0), obs=torch.ones(()))

    def same() -> None:
        log_omega, log_s = (pyro.param(name, torch.zeros(size)) for name, size in SIZES)
        pyro.sample("Y", DRPM(log_omega=log_omega, log_s=log_s))
        pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))

    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    elbo = JitTraceMeanField_ELBO(max_plate_nesting=0, ignore_jit_warnings=True)
    expected = -float(dist.Normal(0.0, 1.0).log_prob(torch.ones(())))
    for _ in range(3):
        assert elbo.loss_and_grads(certain, same) == pytest.approx(expected, abs=1e-5)


OWN: dict[str, Callable[[DRPM], Tensor]] = {
    "draw": lambda d: (d.rsample() * torch.arange(15.0).view(3, 5)).sum(),
    "bounds": lambda d: torch.stack(d.log_prob_bounds(d.rsample(), bound="tight")).sum(),
    "noiseless": lambda d: d.noiseless.square().cumsum(-1).sum(),
    "sizes": lambda d: d.sizes.log_prob(d.sizes.rsample()),
    "ordering": lambda d: d.ordering.log_prob(d.ordering.sample()),
}


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("gradient", ["flow", "relaxed"])
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_traces(name: str, gradient: Gradient) -> None:
    def f(log_omega: Tensor, log_s: Tensor) -> Tensor:
        d = DRPM(log_omega=log_omega, log_s=log_s, gradient=gradient, validate_args=False)
        return OWN[name](d)

    def at(seed: int) -> tuple[Tensor, Tensor]:
        torch.manual_seed(seed)
        return torch.randn(3, requires_grad=True), torch.randn(5, requires_grad=True)

    traced = torch.jit.trace(f, at(0), check_trace=False)
    for seed in range(1, 12):
        results = []
        for function in (f, traced):
            parameters = at(seed)
            value = function(*parameters)
            grads = torch.autograd.grad(value, parameters, materialize_grads=True)
            results.append((value, *grads))
        torch.testing.assert_close(results[1], results[0])


def observed(x: Tensor) -> None:
    log_omega = pyro.sample("log_omega", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    prior = DRPM(log_omega=log_omega, log_s=torch.zeros(len(x)), hard=False)
    locations = torch.arange(3.0) @ pyro.sample("Y", prior)
    pyro.sample("x", dist.Normal(locations, 1.0).to_event(1), obs=x)


# Pyro's own, where it looks for dims to enumerate.
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_potentials() -> None:
    reparametrised = pyro.poutine.reparam(observed, config={"Y": DRPMReparam()})
    x = torch.linspace(0, 2, 12)
    pyro.set_rng_seed(0)
    initial, plain, _, _ = initialize_model(reparametrised, (x,))
    _, compiled, _, _ = initialize_model(
        reparametrised, (x,), jit_compile=True, skip_jit_warnings=True
    )
    for step in range(3):
        torch.manual_seed(step)
        values = {name: torch.randn_like(v).requires_grad_() for name, v in initial.items()}
        results = [potential(values) for potential in (plain, compiled)]
        gradients = [torch.autograd.grad(value, list(values.values())) for value in results]
        torch.testing.assert_close(results[1], results[0])
        torch.testing.assert_close(gradients[1], gradients[0])
    kernel = NUTS(reparametrised, jit_compile=True, ignore_jit_warnings=True)
    mcmc = MCMC(kernel, num_samples=3, warmup_steps=3, disable_progbar=True)
    mcmc.run(x)
    assert mcmc.get_samples()["log_omega"].shape == (3, 3)
