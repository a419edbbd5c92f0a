# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import Tensor

from pyro_drpm import DRPM
from pyro_drpm.infer import DRPMReparam, ExponentialAnnealing, temperature

W, S = torch.ones(2), torch.ones(3)


@pytest.mark.parametrize(("initial", "final", "steps"), [(1.0, 0.5, 100), (2.0, 0.1, 7)])
def test_exponential_annealing(initial: float, final: float, steps: int) -> None:
    annealing = ExponentialAnnealing(initial, final, steps=steps)
    for step in range(2 * steps):
        expected = max(final, initial * (final / initial) ** (step / steps))
        assert annealing(step) == pytest.approx(expected, rel=1e-12)
        assert float(annealing(torch.tensor(step))) == pytest.approx(expected, rel=1e-12)
    assert annealing(0) == initial
    assert annealing(steps) == pytest.approx(final)
    assert annealing(10**9) == final
    # A step costs the same factor everywhere.
    assert annealing(1) / annealing(0) == pytest.approx((final / initial) ** (1 / steps))


def test_annealing_defaults_to_the_papers_temperatures() -> None:
    annealing = ExponentialAnnealing(steps=10)
    assert (annealing(0), annealing(10)) == (1.0, 0.5)


def test_constant_temperature() -> None:
    assert ExponentialAnnealing(0.3, 0.3, steps=5)(3) == pytest.approx(0.3)


def test_other_sites_are_left_as_they_are() -> None:
    d = dist.Normal(torch.zeros(3), 1.0).to_event(1).mask(True)
    site = poutine.trace(temperature(0.1)(lambda: pyro.sample("z", d))).get_trace().nodes["z"]
    assert site["fn"] is d


def drpm_of(fn: Any) -> DRPM:
    while not isinstance(fn, DRPM):
        fn = fn.base_dist
    return fn


WRAPPED: dict[str, Callable[[DRPM], Any]] = {
    "plain": lambda d: d,
    "to_event": lambda d: d.expand([4]).to_event(1),
    "mask": lambda d: d.mask(torch.tensor(True)),
    "mask of to_event": lambda d: d.expand([4]).to_event(1).mask(True),
    "to_event of mask": lambda d: d.expand([4]).mask(torch.ones(4).bool()).to_event(1),
}


@pytest.mark.parametrize("wrapping", WRAPPED)
@pytest.mark.parametrize("value", [0.1, torch.tensor(0.1)])
def test_handler_reaches_wrapped_sites(wrapping: str, value: Tensor | float) -> None:
    d = DRPM(W, S, temperature=0.7)
    fn = WRAPPED[wrapping](d)

    def model() -> Tensor:
        return pyro.sample("Y", fn)

    def traced(model: Callable[[], Tensor]) -> Any:
        return poutine.trace(model).get_trace().nodes["Y"]

    with temperature(value):
        inside = traced(model)
    decorated = traced(temperature(value)(model))
    for site in (inside, decorated):
        assert drpm_of(site["fn"]).temperature == value
        assert type(site["fn"]) is type(fn)
        assert site["fn"].batch_shape == fn.batch_shape
        assert site["fn"].event_shape == fn.event_shape
        torch.testing.assert_close(site["fn"].log_prob(site["value"]), fn.log_prob(site["value"]))
    # Nothing is left behind.
    assert drpm_of(traced(model)["fn"]).temperature == 0.7
    assert d.temperature == drpm_of(fn).temperature == 0.7


def test_handler_keeps_options() -> None:
    d = DRPM(W, S, hard=False).has_rsample_(False)
    with temperature(0.1):
        fn: Any = poutine.trace(lambda: pyro.sample("Y", d)).get_trace().nodes["Y"]["fn"]
    assert not fn.has_rsample
    assert not fn.hard


def test_handler_reaches_every_site() -> None:
    def inner() -> None:
        pyro.sample("inner", DRPM(W, S))

    def model() -> None:
        with pyro.plate("plate", 5):
            pyro.sample("first", DRPM(W, S))
            inner()
        pyro.sample("other", dist.Normal(0.0, 1.0).expand([2]).to_event(1))

    trace: Any = poutine.trace(temperature(0.1)(model)).get_trace()
    assert trace.nodes["first"]["fn"].temperature == 0.1
    assert trace.nodes["inner"]["fn"].temperature == 0.1


def test_handler_changes_the_relaxation() -> None:
    def soft(value: float) -> Tensor:
        pyro.set_rng_seed(0)
        with temperature(value):
            return pyro.sample("Y", DRPM(W, torch.tensor([1.0, 2.0, 3.0]), hard=False))

    def softness(Y: Tensor) -> float:
        return float((Y - Y.round()).abs().sum())

    assert softness(soft(1e-3)) < 1e-3 < 0.1 < softness(soft(2.0))


@pytest.mark.parametrize("outside", [False, True])
def test_handler_reaches_reparametrised_sites(outside: bool) -> None:
    def model() -> Tensor:
        return pyro.sample("Y", DRPM(W, torch.tensor([1.0, 2.0, 3.0]), hard=False))

    config: Any = {"Y": DRPMReparam()}
    handled = (
        temperature(1e-3)(poutine.reparam(model, config=config))
        if outside
        else poutine.reparam(temperature(1e-3)(model), config=config)
    )
    Y = handled()
    torch.testing.assert_close(Y, Y.round(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_handler_refuses_what_is_no_temperature(value: float) -> None:
    with temperature(value), pytest.raises(ValueError, match=f"positive finite.*got {value}"):
        pyro.sample("Y", DRPM(W, S))
