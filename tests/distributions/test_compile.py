# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""A step in one graph, as ``torch.compile`` captures it, is the step without it."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution

from pyro_drpm import DRPM, MultivariateFisherHypergeometric, PlackettLuce
from pyro_drpm.distributions import TiedPlackettLuce


@pytest.fixture(autouse=True)
def _validation_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiler switches off the validation of all distributions, for good."""
    monkeypatch.setattr(Distribution, "_validate_args", Distribution._validate_args)


def partition(log_omega: Tensor, log_s: Tensor) -> Tensor:
    d = DRPM(log_omega=log_omega, log_s=log_s, validate_args=False)
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
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize(
    ("step", "num_subsets", "n"),
    [(partition, 2, 6), (partition, 3, 600), (sizes, 3, 300), (ordering, 1, 6), (ties, 1, 6)],
)
def test_whole_graph(step: Callable[[Tensor, Tensor], Tensor], num_subsets: int, n: int) -> None:
    torch.manual_seed(0)
    log_omega = torch.randn(num_subsets, dtype=torch.float64, requires_grad=True)
    log_s = torch.randn(n, dtype=torch.float64, requires_grad=True)
    results = []
    for run in (step, torch.compile(step, backend="aot_eager", fullgraph=True)):
        torch.manual_seed(1)
        value = run(log_omega, log_s)
        results.append((value, *torch.autograd.grad(value, (log_omega, log_s))))
    torch.testing.assert_close(*results)
