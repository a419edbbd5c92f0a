# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""A step in one graph, as ``torch.compile`` captures it, is the step without it."""

from collections.abc import Callable

import pyro
import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution

from pyro_drpm import DRPM, MultivariateFisherHypergeometric, PlackettLuce
from pyro_drpm.distributions import TiedPlackettLuce
from tests.distributions.size_laws import LAWS, N, parameter


@pytest.fixture(autouse=True)
def _nothing_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiler keeps what it has compiled, and switches off all validation, for good."""
    torch._dynamo.reset()
    monkeypatch.setattr(Distribution, "_validate_args", Distribution._validate_args)


def partition(log_omega: Tensor, log_s: Tensor) -> Tensor:
    return partition_of(DRPM(log_omega=log_omega, log_s=log_s, validate_args=False))


def partition_of(d: DRPM) -> Tensor:
    Y = d.rsample((5,))
    lower, upper = d.log_prob_bounds(Y, bound="tight")
    weights = torch.arange(Y[0].numel()).view_as(Y[0]).to(Y)
    return (Y * weights).sum() + (d.log_prob(Y) + lower + upper).sum()


def sizes(log_omega: Tensor, log_s: Tensor) -> Tensor:
    d = MultivariateFisherHypergeometric(log_s.shape[-1], log_omega=log_omega, validate_args=False)
    counts = d.rsample((5,))
    return (
        (counts.square() + d.mean + d.variance).sum() + d.log_prob(counts).sum() + 0 * log_s.sum()
    )


def ordering(log_omega: Tensor, log_s: Tensor) -> Tensor:
    d = PlackettLuce(log_s=log_s, validate_args=False)
    return d.log_prob(d.sample((5,))).sum() + 0 * log_omega.sum()


def ties(log_omega: Tensor, log_s: Tensor) -> Tensor:
    value = torch.arange(log_s.shape[-1]) % 4 - 1
    d = TiedPlackettLuce(log_s=log_s, sizes=[2, 3, 1], validate_args=False)
    everybody = TiedPlackettLuce(log_s=log_s, validate_args=False).log_prob(value)
    return d.log_prob(d.sample((5,))).sum() + everybody + 0 * log_omega.sum()


# torch's own: it makes an instance of each autograd function that it traces.
makes_instances = pytest.mark.filterwarnings(
    "ignore:.*should not be instantiated:DeprecationWarning"
)


@makes_instances
@pytest.mark.parametrize(
    ("step", "num_subsets", "n"),
    [(partition, 2, 6), (partition, 3, 600), (sizes, 3, 300), (ordering, 1, 6), (ties, 1, 6)],
)
def test_whole_graph(step: Callable[[Tensor, Tensor], Tensor], num_subsets: int, n: int) -> None:
    torch.manual_seed(0)
    log_omega = torch.randn(num_subsets, dtype=torch.float64, requires_grad=True)
    log_s = torch.randn(n, dtype=torch.float64, requires_grad=True)
    compare(step, log_omega, log_s)


@makes_instances
@pytest.mark.parametrize(
    "name", ["fisher", "fisher-bounds", "multinomial", "dirichlet", "restaurant", "own"]
)
def test_laws_of_sizes(name: str) -> None:
    def step(w: Tensor, log_s: Tensor) -> Tensor:
        law = LAWS[name](w)
        counts = law.rsample((5,))
        of_sizes = (counts.square() + law.mean + law.variance).sum() + law.log_prob(counts).sum()
        return partition_of(DRPM(sizes=law, log_s=log_s)) + of_sizes

    log_s = torch.linspace(-1, 1, N, dtype=torch.float64).requires_grad_()
    with pyro.validation_enabled(False):
        compare(step, parameter(), log_s)


def compare(step: Callable[[Tensor, Tensor], Tensor], *parameters: Tensor) -> None:
    results = []
    for run in (step, torch.compile(step, backend="aot_eager", fullgraph=True)):
        torch.manual_seed(1)
        value = run(*parameters)
        results.append((value, *torch.autograd.grad(value, parameters)))
    torch.testing.assert_close(*results)
