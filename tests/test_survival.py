# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Partial likelihoods against sums over all orders of ties, and figures of another program."""

import itertools
import math
from typing import Any, NamedTuple

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyro.infer import MCMC, NUTS
from scipy.integrate import quad
from torch import Tensor

from models.survival.data import load_rossi
from models.survival.regression import most_likely
from pyro_drpm.distributions import TiedPlackettLuce
from pyro_drpm.survival import CoxPartialLikelihood


class Data(NamedTuple):
    time: Tensor
    event: Tensor
    strata: Tensor
    entry: Tensor


def groups(data: Data) -> list[tuple[list[int], list[int]]]:
    """For every stratum and time: who has an event, and who else is at risk."""
    found = []
    keys = {(int(s), float(t)) for s, t in zip(data.strata, data.time, strict=True)}
    for stratum, time in sorted(keys):
        at_risk = [
            i
            for i in range(len(data.time))
            if data.strata[i] == stratum and data.entry[i] < time <= data.time[i]
        ]
        events = [i for i in at_risk if data.time[i] == time and data.event[i]]
        if events:
            found.append((events, [i for i in at_risk if i not in events]))
    return found


def exact(log_hazard: Tensor, data: Data) -> Tensor:
    total = torch.zeros(())
    for events, others in groups(data):
        orders = [
            sum(
                log_hazard[i] - log_hazard[[*order[at:], *others]].logsumexp(0)
                for at, i in enumerate(order)
            )
            for order in itertools.permutations(events)
        ]
        total = total + torch.stack([torch.as_tensor(x) for x in orders]).logsumexp(0)
    return total


def breslow(log_hazard: Tensor, data: Data) -> Tensor:
    s = log_hazard.exp()
    terms = [
        log_hazard[i] - s[events + others].sum().log()
        for events, others in groups(data)
        for i in events
    ]
    return torch.stack(terms).sum()


def efron(log_hazard: Tensor, data: Data) -> Tensor:
    s = log_hazard.exp()
    terms = [
        log_hazard[i] - (s[others].sum() + (1 - j / len(events)) * s[events].sum()).log()
        for events, others in groups(data)
        for j, i in enumerate(events)
    ]
    return torch.stack(terms).sum()


ORACLES: dict[Any, Any] = {"exact": exact, "efron": efron, "breslow": breslow}


def likelihood(data: Data, **options: Any) -> CoxPartialLikelihood:
    return CoxPartialLikelihood(
        data.time, data.event, strata=data.strata, entry=data.entry, **options
    )


@st.composite
def data_sets(draw: st.DrawFn) -> Data:
    n = draw(st.integers(1, 7))

    def column(elements: st.SearchStrategy[Any]) -> Tensor:
        return torch.tensor(draw(st.lists(elements, min_size=n, max_size=n)))

    time = column(st.integers(1, 4))
    event = column(st.booleans())
    event[0] = True
    entry = column(st.sampled_from([-math.inf, 0.0, 0.5, 1.0, 2.0])).double()
    entry = torch.where(entry < time, entry, -math.inf)
    return Data(time.double(), event, column(st.integers(-1, 1)), entry)


def log_hazards(n: int, scale: float, *batch: int) -> Tensor:
    generator = torch.Generator().manual_seed(n)
    return scale * torch.randn(*batch, n, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("ties", ORACLES)
@settings(max_examples=80, deadline=None)
@given(data_sets(), st.sampled_from([0.0, 1.0, 8.0]))
def test_every_kind_of_data(ties: Any, data: Data, scale: float) -> None:
    log_hazard = log_hazards(len(data.time), scale)
    found = likelihood(data, ties=ties)(log_hazard)
    expected = ORACLES[ties](log_hazard, data).double()
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


SOME = Data(
    torch.tensor([3.0, 1.0, 1.0, 2.0, 2.0, 2.0, 1.0, 3.0]),
    torch.tensor([1, 1, 1, 1, 0, 1, 0, 1]),
    torch.tensor([0, 0, 0, 1, 1, 1, 1, 0]),
    torch.tensor([0.0, 0.0, -1.0, 0.0, 1.0, 1.5, 0.0, 1.0]),
)


@pytest.mark.parametrize("ties", ORACLES)
def test_first_and_second_derivatives(ties: Any) -> None:
    log_hazard, ours = log_hazards(8, 2.0), likelihood(SOME, ties=ties)
    for derivative in (torch.autograd.functional.jacobian, torch.autograd.functional.hessian):
        torch.testing.assert_close(
            derivative(ours, log_hazard),
            derivative(lambda x: ORACLES[ties](x, SOME), log_hazard),
            rtol=1e-9,
            atol=1e-11,
        )


@pytest.mark.parametrize("ties", ORACLES)
def test_batches_are_loops(ties: Any) -> None:
    log_hazard, ours = log_hazards(8, 1.0, 3, 2), likelihood(SOME, ties=ties)
    apart = torch.stack([ours(x) for x in log_hazard.flatten(0, 1)]).view(3, 2)
    torch.testing.assert_close(ours(log_hazard), apart)


@pytest.mark.parametrize("ties", ORACLES)
def test_dtype_is_that_of_the_hazards(ties: Any) -> None:
    log_hazard, ours = log_hazards(8, 1.0), likelihood(SOME, ties=ties)
    single = ours(log_hazard.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), ours(log_hazard), rtol=1e-5, atol=1e-5)


def test_without_censoring_it_is_a_ranking() -> None:
    log_hazard, time = log_hazards(60, 1.0), torch.arange(60) // 4 % 7
    found = CoxPartialLikelihood(time, torch.ones(60))(log_hazard)
    expected = TiedPlackettLuce(log_s=log_hazard).log_prob(time)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_nobody_at_risk_beside_the_events() -> None:
    """Differences of equal sums are round-off, not somebody."""
    time, entry = torch.tensor([1.0, 1.0, 9.0]), torch.tensor([0.0, 0.0, 5.0])
    found = CoxPartialLikelihood(time, torch.ones(3), entry=entry)(log_hazards(3, 5.0))
    assert float(found) == 0.0


def test_many_subjects_are_the_strata_of_a_few() -> None:
    torch.manual_seed(0)
    n, size = 20_000, 5
    time, event = torch.randint(1, 4, (n,)), torch.rand(n) < 0.7
    strata, log_hazard = torch.arange(n) // size, torch.randn(n, dtype=torch.float64)
    found = CoxPartialLikelihood(time, event, strata=strata)(log_hazard)
    expected = 0.0
    for at in range(0, n, size):
        part = slice(at, at + size)
        expected += float(CoxPartialLikelihood(time[part], event[part])(log_hazard[part]))
    assert float(found) == pytest.approx(expected, rel=1e-10)


# Of prio with standardised covariates. Efron by lifelines 0.30.3 and, as Breslow, by statsmodels
# 0.15.0, which have no exact ones: those were found apart from this code, and the likelihood that
# they maximise is compared with quadrature below.
COEFFICIENTS = {
    4: {"exact": 0.2616, "efron": 0.2615, "breslow": 0.2554},
    13: {"exact": 0.2753, "efron": 0.2743, "breslow": 0.2543},
    26: {"exact": 0.2703, "efron": 0.2663, "breslow": 0.2303},
}
# By lifelines 0.30.3, with weeks as they are.
EFRON = [-0.37942217, -0.05743774, 0.31389979, -0.14979570, -0.43370388, -0.08487108, 0.09149708]
EFRON_LOG_LIKELIHOOD = -658.7476594


@pytest.mark.parametrize("weeks", COEFFICIENTS)
@pytest.mark.parametrize("ties", ORACLES)
def test_grouped_recidivism(weeks: int, ties: Any) -> None:
    data = load_rossi().standardized()
    ours = CoxPartialLikelihood(data.grouped(weeks).week, data.arrest, ties=ties)
    beta = most_likely(data.covariates, ours)
    assert float(beta[data.names.index("prio")]) == pytest.approx(
        COEFFICIENTS[weeks][ties], abs=6e-5
    )


@pytest.mark.parametrize("weeks", COEFFICIENTS)
def test_grouped_recidivism_by_quadrature(weeks: int) -> None:
    """Groups of tens of men, for whom no sum over orders could be written down."""
    data = load_rossi().standardized().grouped(weeks)
    log_hazard = data.covariates @ torch.tensor([-0.2, -0.3, 0.1, -0.1, -0.2, 0.0, 0.3]).double()
    s, time, arrest = (x.numpy() for x in (log_hazard.exp(), data.week, data.arrest))
    total = 0.0
    for period in np.unique(time[arrest]):
        events = arrest & (time == period)
        others = s[(time >= period) & ~events].sum()

        def integrand(t: float, events: Any = events, others: float = others) -> float:
            return float(others * np.exp(-others * t) * np.prod(-np.expm1(-s[events] * t)))

        ends = itertools.pairwise(np.linspace(0, 400, 401) / others)
        area = sum(quad(integrand, *pair, epsabs=0, epsrel=1e-10)[0] for pair in ends)
        total += math.log(area)
    found = CoxPartialLikelihood(data.week, data.arrest)(log_hazard)
    assert float(found) == pytest.approx(total, rel=1e-9)


def test_recidivism_by_another_program() -> None:
    data = load_rossi()
    ours = CoxPartialLikelihood(data.week, data.arrest, ties="efron")
    beta = most_likely(data.covariates, ours)
    torch.testing.assert_close(beta, torch.tensor(EFRON, dtype=torch.float64), rtol=0, atol=1e-6)
    log_likelihood = float(ours(data.covariates @ beta))
    assert log_likelihood == pytest.approx(EFRON_LOG_LIKELIHOOD, abs=1e-6)


def test_a_factor_under_nuts() -> None:
    """One coefficient, against its density on a grid."""
    ours = likelihood(SOME)
    x = log_hazards(8, 1.0)

    def model() -> None:
        beta = pyro.sample("beta", dist.Normal(torch.zeros((), dtype=torch.float64), 1.0))
        pyro.factor("events", ours(beta * x))

    pyro.set_rng_seed(0)
    mcmc = MCMC(NUTS(model), 600, warmup_steps=100, disable_progbar=True)
    mcmc.run()
    draws = mcmc.get_samples()["beta"]
    grid = torch.linspace(-6, 6, 601, dtype=torch.float64)
    log_p = ours(grid.unsqueeze(-1) * x) - grid**2 / 2
    p = log_p.softmax(0)
    mean = (p * grid).sum()
    std = (p * (grid - mean) ** 2).sum().sqrt()
    assert abs(float(draws.mean() - mean)) < 4 * float(std) / 200**0.5
    assert float(draws.std()) == pytest.approx(float(std), rel=0.2)
    assert not mcmc.diagnostics()["divergences"]["chain 0"]


TIME, EVENT = torch.tensor([1.0, 2.0]), torch.tensor([1, 0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"time": torch.ones(3)},
            r"of one shape \(n,\), but got event of shape \(2,\) and time of",
        ),
        ({"time": torch.tensor(1.0), "event": torch.tensor(1)}, r"time of shape \(\)"),
        ({"event": torch.tensor([1, 2])}, "events of 0 and 1, but got 2"),
        ({"time": torch.tensor([1.0, math.nan])}, "time to be numbers, but got nan at index 1"),
        ({"strata": torch.ones(2)}, "strata to be integers, but got torch.float32"),
        ({"strata": torch.ones(3)}, r"but got strata of shape \(3,\)"),
        ({"entry": torch.tensor([0.0, 2.0])}, "got entry 2.0 and time 2.0 at index 1"),
        ({"ties": "discrete"}, "one of exact, efron, breslow, but got 'discrete'"),
    ],
)
def test_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"CoxPartialLikelihood: expected .*{message}"):
        CoxPartialLikelihood(**{"time": TIME, "event": EVENT, **arguments})


def test_other_numbers_of_subjects_and_dtypes() -> None:
    with pytest.raises(ValueError, match="float32 or float64, but got torch.bfloat16"):
        CoxPartialLikelihood(TIME, EVENT)(torch.zeros(2, dtype=torch.bfloat16))
    with pytest.raises(ValueError, match=r"of shape \(\*batch, 2\), but got \(3,\)"):
        CoxPartialLikelihood(TIME, EVENT)(torch.zeros(3))
    assert (
        repr(CoxPartialLikelihood(TIME, EVENT))
        == "CoxPartialLikelihood(subjects: 2, ties: 'exact')"
    )
