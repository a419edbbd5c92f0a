# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The mass is exact: normalised, and what brute force and SciPy say."""

import itertools
import math
from typing import get_args

import pytest
import torch
from scipy import stats

from pyro_drpm import DRPM, MultivariateFisherHypergeometric, PlackettLuce
from pyro_drpm.types import UpperBound
from tests.oracles import (
    all_partitions,
    log_assignment,
    log_ordering,
    log_size_probabilities,
    orderings_of,
)

SHAPES = [(1, 1), (1, 5), (2, 1), (6, 1), (5, 2), (2, 7), (3, 6), (4, 5), (7, 3)]
SCALES = [(0.0, 0.0), (1.0, 1.0), (10.0, 1.0), (1.0, 20.0), (10.0, 20.0)]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
@pytest.mark.parametrize("capped", [False, True])
@pytest.mark.parametrize(("num_subsets", "n"), SHAPES)
def test_masses_add_up_to_one(
    num_subsets: int, n: int, capped: bool, dtype: torch.dtype, tolerance: float
) -> None:
    torch.manual_seed(0)
    tight = max(1, math.ceil(n / num_subsets))
    capacities = torch.full((num_subsets,), tight) if capped else None
    for omega_scale, score_scale in SCALES:
        partition = DRPM(
            log_omega=omega_scale * torch.randn(3, num_subsets, dtype=dtype).clamp(-1, 1),
            log_s=score_scale * torch.randn(3, n, dtype=dtype),
            capacities=capacities,
        )
        log_mass = partition.log_prob(partition.enumerate_support())
        assert log_mass.dtype == dtype
        total = log_mass.double().logsumexp(0).exp()
        torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=tolerance)


def test_bounds_do_not_depend_on_how_equal_scores_are_given() -> None:
    torch.manual_seed(0)
    log_omega, one = torch.randn(4, 3, dtype=torch.float64), torch.tensor([2.0]).double()
    expanded = DRPM(log_omega=log_omega, log_s=one.expand(6))
    written_out = DRPM(log_omega=log_omega, log_s=one.expand(6).clone())
    Y = written_out.sample((5,))
    for bound in get_args(UpperBound):
        bounds = zip(
            expanded.log_prob_bounds(Y, bound), written_out.log_prob_bounds(Y, bound), strict=True
        )
        for found, expected in bounds:
            torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0])
@pytest.mark.parametrize(("num_subsets", "n"), [(1, 3), (2, 5), (3, 4), (4, 3), (5, 2)])
def test_mass_and_bounds_against_brute_force(num_subsets: int, n: int, scale: float) -> None:
    torch.manual_seed(0)
    log_omega = scale * torch.randn(num_subsets, dtype=torch.float64)
    log_s = scale * torch.randn(n, dtype=torch.float64)
    m = torch.full((num_subsets,), n)
    sizes = log_size_probabilities(log_omega, m, n)
    highest = max(log_ordering(log_s, pi) for pi in itertools.permutations(range(n)))
    partition = DRPM(log_omega=log_omega, log_s=log_s)
    for Y in all_partitions(num_subsets, n):
        counts = tuple(int(c) for c in Y.sum(-1))
        of_sizes, of_assignment = partition.log_prob_parts(Y)
        assert of_sizes.item() == pytest.approx(sizes[counts], abs=1e-10)
        assert of_assignment.item() == pytest.approx(log_assignment(log_s, Y), abs=1e-10)
        assert partition.log_prob(Y).item() == pytest.approx(
            sizes[counts] + log_assignment(log_s, Y), abs=1e-10
        )
        best = max(log_ordering(log_s, pi) for pi in orderings_of(Y))
        log_orderings = math.log(len(orderings_of(Y)))
        lower, upper = partition.log_prob_bounds(Y)
        assert lower.item() == pytest.approx(sizes[counts] + best, abs=1e-10)
        assert upper.item() == pytest.approx(sizes[counts] + log_orderings + highest, abs=1e-10)
        same_lower, tight = partition.log_prob_bounds(Y, bound="tight")
        assert same_lower == lower
        assert tight.item() == pytest.approx(sizes[counts] + log_orderings + best, abs=1e-10)


@pytest.mark.parametrize("odds", [1.0, 0.2, 7.0, 1e4])
@pytest.mark.parametrize(("draws", "first", "second"), [(5, 5, 5), (6, 4, 9), (40, 60, 35)])
def test_two_sizes_against_scipy(draws: int, first: int, second: int, odds: float) -> None:
    sizes = MultivariateFisherHypergeometric(
        draws,
        omega=torch.tensor([odds, 1.0], dtype=torch.float64),
        capacities=torch.tensor([first, second]),
    )
    scipy = stats.nchypergeom_fisher(first + second, first, draws, odds)
    values = sizes.enumerate_support()
    expected = torch.from_numpy(scipy.logpmf(values[:, 0].numpy()))
    torch.testing.assert_close(sizes.log_prob(values), expected, rtol=1e-9, atol=1e-9)
    assert sizes.mean[0].item() == pytest.approx(scipy.mean(), rel=1e-9)
    assert sizes.variance[0].item() == pytest.approx(scipy.var(), rel=1e-8, abs=1e-12)


def test_equal_weights_against_scipy() -> None:
    capacities = torch.tensor([3, 5, 2, 6])
    sizes = MultivariateFisherHypergeometric(
        7, omega=torch.full((4,), 2.5, dtype=torch.float64), capacities=capacities
    )
    values = sizes.enumerate_support()
    expected = stats.multivariate_hypergeom.logpmf(values.long().numpy(), capacities.numpy(), 7)
    torch.testing.assert_close(sizes.log_prob(values), torch.from_numpy(expected))


@pytest.mark.parametrize("capacities", [[4, 4, 4], [1, 3, 2], [4, 0, 2]])
def test_moments_and_mode_of_sizes_by_enumeration(capacities: list[int]) -> None:
    torch.manual_seed(0)
    for scale in (0.5, 3.0):
        sizes = MultivariateFisherHypergeometric(
            4,
            log_omega=scale * torch.randn(2, 3, dtype=torch.float64),
            capacities=torch.tensor(capacities),
        )
        values = sizes.enumerate_support()
        prob = sizes.log_prob(values).exp().unsqueeze(-1)
        mean = (prob * values).sum(0)
        torch.testing.assert_close(sizes.mean, mean)
        torch.testing.assert_close(sizes.variance, (prob * (values - mean) ** 2).sum(0))
        best = prob.squeeze(-1).argmax(0)
        torch.testing.assert_close(sizes.mode, values[best, torch.arange(2)])


def test_orderings_against_the_definition() -> None:
    log_s = 2 * torch.randn(4, dtype=torch.float64)
    orderings = PlackettLuce(log_s=log_s)
    values = orderings.enumerate_support()
    expected = [log_ordering(log_s, tuple(pi.tolist())) for pi in values]
    torch.testing.assert_close(orderings.log_prob(values), torch.tensor(expected).double())
    assert tuple(orderings.mode.tolist()) == tuple(
        values[orderings.log_prob(values).argmax()].tolist()
    )


@pytest.mark.parametrize("hard", [True, False])
def test_log_prob_passes_gradcheck(hard: bool) -> None:
    torch.manual_seed(0)
    log_omega = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    log_s = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    Y = DRPM(log_omega=log_omega, log_s=log_s).sample()

    def log_prob(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return DRPM(log_omega=a, log_s=b, hard=hard).log_prob(Y)

    assert torch.autograd.gradcheck(log_prob, (log_omega, log_s))
    assert torch.autograd.gradgradcheck(log_prob, (log_omega, log_s))


def test_log_prob_of_relaxed_partitions_passes_gradcheck() -> None:
    torch.manual_seed(0)
    log_omega = torch.randn(3, dtype=torch.float64, requires_grad=True)
    log_s = torch.randn(4, dtype=torch.float64, requires_grad=True)
    partition = DRPM(log_omega=log_omega, log_s=log_s, hard=False, validate_args=False)
    Y = partition.rsample().detach().requires_grad_()

    def log_prob(a: torch.Tensor, b: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return DRPM(log_omega=a, log_s=b, hard=False, validate_args=False).log_prob(y)

    assert torch.autograd.gradcheck(log_prob, (log_omega, log_s, Y))


def test_gradient_in_Y_of_a_hard_partition_is_that_of_the_continuation() -> None:
    torch.manual_seed(0)
    log_omega, log_s = torch.randn(3, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    Y = DRPM(log_omega=log_omega, log_s=log_s).sample().requires_grad_()
    grads = [
        torch.autograd.grad(DRPM(log_omega=log_omega, log_s=log_s, hard=hard).log_prob(Y), Y)[0]
        for hard in (True, False)
    ]
    torch.testing.assert_close(*grads)


def test_a_large_partition_lies_between_its_bounds() -> None:
    torch.manual_seed(0)
    partition = DRPM(
        log_omega=torch.zeros(10, dtype=torch.float64),
        log_s=torch.randn(256, dtype=torch.float64),
    )
    Y = partition.sample((20,))
    lower, upper = partition.log_prob_bounds(Y)
    _, tight = partition.log_prob_bounds(Y, bound="tight")
    exact = partition.log_prob(Y)
    assert (lower < exact).all() and (exact < tight).all() and (tight < upper).all()


def test_masses_follow_weights_that_are_changed_in_place() -> None:
    log_omega, log_s = torch.zeros(3), torch.zeros(4)
    partition = DRPM(log_omega=log_omega, log_s=log_s)
    Y = partition.sample()
    partition.log_prob(Y)
    log_omega += torch.tensor([0.0, 1.0, -1.0])
    torch.testing.assert_close(
        partition.log_prob(Y), DRPM(log_omega=log_omega, log_s=log_s).log_prob(Y)
    )
