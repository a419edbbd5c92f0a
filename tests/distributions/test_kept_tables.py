# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""How long the tables of sizes are kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pytest
import torch
from torch import Tensor

from pyro_drpm import DRPM, MultivariateFisherHypergeometric, PlackettLuce
from pyro_drpm.distributions import hypergeometric
from pyro_drpm.ops.sizes.fisher import fisher_tables
from pyro_drpm.ops.sizes.tables import SizeTables
from pyro_drpm.types import Gradient


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The total of each table that has been computed."""
    totals = []

    def counted(log_omega: Tensor, capacities: Tensor, total: int) -> SizeTables:
        totals.append(total)
        return fisher_tables(log_omega, capacities, total)

    monkeypatch.setattr(hypergeometric, "fisher_tables", counted)
    return totals


def test_one_step_of_expanded_copies_shares_tables(computed: list[int]) -> None:
    log_omega = torch.randn(2, 3, requires_grad=True)
    d = DRPM(log_omega=log_omega, log_s=torch.randn(5))
    copies = [d, d.expand([4, 2]), d.with_temperature(0.1)]
    values = [copy.rsample() for copy in copies] + [copy.noiseless for copy in copies]
    torch.stack([value.square().sum() for value in values]).sum().backward()
    assert computed == [5]


USES: dict[str, Callable[[Any], Tensor]] = {
    "rsample": lambda d: d.rsample((3,)).square().cumsum(-1).sum(),
    "log_prob": lambda d: d.log_prob(d.sample()).sum(),
    "noiseless": lambda d: d.noiseless.square().cumsum(-1).sum(),
    "mean": lambda d: d.mean.sum(),
    "omega": lambda d: d.omega.sum(),
    "s": lambda d: d.s.sum(),
}


@pytest.mark.parametrize(
    ("kind", "use"),
    [
        *(("flow", use) for use in ("rsample", "log_prob", "noiseless", "omega", "s")),
        *(("relaxed", use) for use in ("rsample", "log_prob", "noiseless")),
        *(("sizes", use) for use in ("rsample", "log_prob", "mean", "omega")),
        *(("ordering", use) for use in ("log_prob", "s")),
    ],
)
@pytest.mark.parametrize("num_subsets", [1, 2, 3])
def test_any_number_of_backward_passes(kind: str, use: str, num_subsets: int) -> None:
    torch.manual_seed(0)
    log_omega = torch.randn(num_subsets, requires_grad=True)
    log_s = torch.randn(6, requires_grad=True)
    if kind == "sizes":
        d: Any = MultivariateFisherHypergeometric(6, log_omega=log_omega)
    elif kind == "ordering":
        d = PlackettLuce(log_s=log_s)
    else:
        gradient: Gradient = "flow" if kind == "flow" else "relaxed"
        d = DRPM(log_omega=log_omega, log_s=log_s, gradient=gradient)
    grads = []
    for _ in range(3):
        pyro.set_rng_seed(1)
        value = USES[use](d) + 0 * log_omega.sum()  # which one subset has no gradient for
        found = torch.autograd.grad(value, (log_omega, log_s), materialize_grads=True)
        grads.append(torch.cat(found))
    torch.testing.assert_close(grads[1:], [grads[0]] * 2)


def test_a_retained_graph_is_used_again(computed: list[int]) -> None:
    d = MultivariateFisherHypergeometric(5, log_omega=torch.randn(3, requires_grad=True))
    for _ in range(3):
        d.rsample().square().sum().backward(retain_graph=True)
    assert computed == [5]


def by_optimiser(log_omega: Tensor, change: Tensor) -> None:
    with torch.no_grad():
        log_omega += change


def by_data(log_omega: Tensor, change: Tensor) -> None:
    log_omega.data.add_(change)


def in_inference_mode(log_omega: Tensor, change: Tensor) -> None:
    with torch.inference_mode():
        log_omega.add_(change)


@pytest.mark.parametrize("changed", [by_optimiser, by_data, in_inference_mode])
def test_tables_follow_weights(changed: Callable[[Tensor, Tensor], None]) -> None:
    """As with Pyro's ClippedAdam, which takes its steps on ``.data``."""
    log_omega = torch.zeros(3)
    d = MultivariateFisherHypergeometric(9, log_omega=log_omega)
    copy = d.expand([2])
    d.sample()
    changed(log_omega, torch.tensor([0.0, 0.0, 300.0]))
    assert copy.sample().tolist() == [[0, 0, 9]] * 2


def test_tables_of_tensors_of_inference_mode() -> None:
    with torch.inference_mode():
        log_omega = torch.zeros(3)
        d = MultivariateFisherHypergeometric(9, log_omega=log_omega)
        d.sample()
        log_omega[2] = 300
        assert d.sample().tolist() == [0, 0, 9]
