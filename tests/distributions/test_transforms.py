# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""``torch.func`` against plain derivatives, and maps against loops."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import grad, hessian, jacrev, vmap

from pyro_drpm import DRPM, MultivariateFisherHypergeometric, PlackettLuce
from pyro_drpm.distributions import TiedPlackettLuce
from pyro_drpm.ops import noise
from pyro_drpm.types import Gradient

# Torch's own, for an operation that it maps one by one, and where it differentiates forwards.
pytestmark = [
    pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.script. is deprecated:DeprecationWarning"),
]

LOG_OMEGA = torch.tensor([0.3, -0.5, 0.9], dtype=torch.float64)
LOG_S = torch.tensor([0.1, 1.2, -0.7, 0.4, -1.5], dtype=torch.float64)
BOTH = torch.cat([LOG_OMEGA, LOG_S])
Y = torch.nn.functional.one_hot(torch.tensor([0, 1, 1, 2, 0]), 3).mT.double()
WEIGHTS = torch.arange(15.0, dtype=torch.float64).view(3, 5).sin()
Function = Callable[[Tensor], Tensor]


def drpm(both: Tensor, gradient: Gradient = "flow", hard: bool = True) -> DRPM:
    # Values cannot be looked at inside of vmap, as with torch's own distributions.
    log_omega, log_s = both[:3], both[3:]
    return DRPM(log_omega=log_omega, log_s=log_s, gradient=gradient, hard=hard, validate_args=False)


def sizes(both: Tensor) -> MultivariateFisherHypergeometric:
    return MultivariateFisherHypergeometric(5, log_omega=both[:3], validate_args=False)


def ordering(both: Tensor) -> PlackettLuce:
    return PlackettLuce(log_s=both[3:], validate_args=False)


def ties(both: Tensor) -> TiedPlackettLuce:
    return TiedPlackettLuce(log_s=both[3:], validate_args=False)


def of_matrix(matrix: Tensor) -> Tensor:
    return (WEIGHTS * matrix).sum((-1, -2)).square().sum()


def bounds(both: Tensor) -> Tensor:
    lower, upper = drpm(both).log_prob_bounds(Y)
    return lower + 2 * upper + 3 * drpm(both).log_prob_bounds(Y, bound="tight")[1]


MASSES: dict[str, Function] = {
    "sizes": lambda both: sizes(both).log_prob(Y.sum(-1)),
    "ordering": lambda both: ordering(both).log_prob(torch.tensor([3, 1, 0, 4, 2])),
    "ties": lambda both: ties(both).log_prob(torch.tensor([1, 0, 1, -1, 2])),
    "bounds": bounds,
    "partition": lambda both: drpm(both).log_prob(Y),
}
DRAWS: dict[str, Function] = {
    "sizes": lambda both: (sizes(both).rsample((3,)) * LOG_OMEGA).sum(-1).square().sum(),
    "flow": lambda both: of_matrix(drpm(both).rsample((3,))),
    "relaxed": lambda both: of_matrix(drpm(both, "relaxed").rsample((3,))),
    "soft": lambda both: of_matrix(drpm(both, hard=False).rsample((3,))),
    "noiseless": lambda both: of_matrix(drpm(both).noiseless),
}
EVERY_MASS = [pytest.param(f, id=name) for name, f in MASSES.items()]
EVERY_DRAW = [pytest.param(f, id=name) for name, f in DRAWS.items()]


@pytest.fixture(autouse=True)
def _noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn in the same way inside and outside of transforms."""
    monkeypatch.setattr(noise, "transformed", lambda: True)


def seeded(f: Function) -> Function:
    def same_noise(both: Tensor) -> Tensor:
        torch.manual_seed(0)
        return f(both)

    return same_noise


def plain_gradient(f: Function, both: Tensor) -> Tensor:
    both = both.clone().requires_grad_()
    return torch.autograd.grad(seeded(f)(both), both)[0]


@pytest.mark.parametrize("f", [*EVERY_MASS, *EVERY_DRAW])
@pytest.mark.parametrize("transform", [grad, jacrev])
def test_gradients(transform: Callable[..., Any], f: Function) -> None:
    torch.testing.assert_close(transform(seeded(f))(BOTH), plain_gradient(f, BOTH))


@pytest.mark.parametrize("f", EVERY_MASS)
def test_hessians(f: Function) -> None:
    step = 1e-5 * torch.eye(len(BOTH), dtype=torch.float64)
    rows = [(plain_gradient(f, BOTH + e) - plain_gradient(f, BOTH - e)) / 2e-5 for e in step]
    expected = torch.stack(rows)
    torch.testing.assert_close(hessian(f)(BOTH), expected, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(jacrev(jacrev(f))(BOTH), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("f", [*EVERY_MASS, *EVERY_DRAW])
def test_maps(f: Function) -> None:
    several = torch.stack([BOTH, BOTH + 0.3, BOTH.flip(-1)])
    values = vmap(seeded(f), randomness="same")(several)
    torch.testing.assert_close(values, torch.stack([seeded(f)(both) for both in several]))
    expected = torch.stack([plain_gradient(f, both) for both in several])
    torch.testing.assert_close(vmap(grad(seeded(f)), randomness="same")(several), expected)

    def total(several: Tensor) -> Tensor:
        return vmap(seeded(f), randomness="same")(several).sum()

    torch.testing.assert_close(grad(total)(several), expected)


@pytest.mark.parametrize("which", ["log_omega", "log_s"])
@pytest.mark.parametrize("gradient", ["flow", "relaxed"])
def test_maps_over_one_parameter(gradient: Gradient, which: str) -> None:
    def f(part: Tensor) -> Tensor:
        parts = (part, LOG_S) if which == "log_omega" else (LOG_OMEGA, part)
        return of_matrix(drpm(torch.cat(parts), gradient).rsample((3,)))

    part = LOG_OMEGA if which == "log_omega" else LOG_S
    several = torch.stack([part, part + 0.3, part.flip(-1)])
    found = vmap(grad(seeded(f)), randomness="same")(several)
    torch.testing.assert_close(found, torch.stack([plain_gradient(f, x) for x in several]))


@pytest.mark.parametrize("f", EVERY_DRAW[:-1])
def test_different_noise_for_each(f: Function) -> None:
    torch.manual_seed(0)
    values = vmap(f, randomness="different")(BOTH.expand(20, -1))
    assert len(values.unique()) > 1


@pytest.mark.parametrize("gradient", ["flow", "relaxed"])
def test_jacobians_of_draws(gradient: Gradient) -> None:
    """Many cotangents of a draw at a time."""
    f = seeded(lambda both: drpm(both, gradient).rsample((2,)).flatten())
    both = BOTH.clone().requires_grad_()
    value = f(both)
    rows = [torch.autograd.grad(entry, both, retain_graph=True)[0] for entry in value]
    torch.testing.assert_close(jacrev(f)(BOTH), torch.stack(rows))


def test_noise_of_transforms_is_gumbel() -> None:
    torch.manual_seed(0)
    found = vmap(lambda x: noise.gumbel(torch.Size([1000]), x.device) + x, randomness="different")(
        torch.zeros(100)
    )
    # Median and 0.9 quantile of the standard Gumbel law.
    for level in (0.5, 0.9):
        quantile = -math.log(-math.log(level))
        assert (found <= quantile).double().mean().item() == pytest.approx(level, abs=0.005)
