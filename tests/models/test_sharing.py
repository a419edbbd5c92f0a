# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Which dims the methods share, against their definitions."""

from __future__ import annotations

import math

import pyro
import pytest
import torch
from pyro import poutine

from models.vae.posteriors import Posterior, symmetric_divergence
from models.vae.sharing import Method, shared_below
from pyro_drpm.types import Gradient
from tests.models.view_pairs import (
    LEARNED_SCORES,
    B,
    D,
    both_directions,
    new_sharing,
    sharing_of,
    sites,
)

pytestmark = pytest.mark.usefixtures("seeded")


def test_label_shares_all_dims_but_the_farthest(views: Posterior) -> None:
    divergence = symmetric_divergence(views)
    shared = sharing_of("label")(divergence)
    for indicators, values in zip(shared, divergence.tolist(), strict=True):
        expected = [float(value < max(values)) for value in values]
        assert indicators.tolist() == expected and sum(expected) == D - 1


def test_ada_shares_the_dims_below_its_threshold(views: Posterior) -> None:
    shared = sharing_of("ada")(symmetric_divergence(views))
    for indicators, mean, variance in zip(shared, *views, strict=True):
        delta = (2 * both_directions(mean, variance)).tolist()
        threshold = (min(delta) + max(delta)) / 2
        assert indicators.tolist() == [float(value < threshold) for value in delta]


def test_ada_shares_all_dims_of_equal_views() -> None:
    assert (sharing_of("ada")(torch.full((B, D), 1e-6)) == 1).all()


def test_hypergeometric_shares_the_nearest_dims(views: Posterior) -> None:
    divergence = symmetric_divergence(views).repeat(50, 1)
    sharing = sharing_of("hg")
    nodes = sites(sharing, divergence)
    sizes, shared = nodes["sizes"]["value"], nodes["shared"]["value"]
    assert len(sizes.unique(dim=0)) > 2
    for size, indicators, values in zip(sizes[:, 1].long(), shared, divergence, strict=True):
        nearest = values.argsort()[:size]
        assert torch.equal(indicators.nonzero()[:, 0], nearest.sort().values)
    expected = sharing.sizes(divergence).mode[:, 1]
    assert torch.equal(sharing.noiseless(divergence).sum(-1), expected)


@pytest.mark.parametrize(
    ("number", "indicators", "gradient"),
    [
        (0, [1, 1, 1], [-0.5, 0, 0]),  # none is independent that could become shared
        (1, [0, 1, 1], [-0.5, 0, -0.5]),
        (2, [0, 1, 0], [0, -0.5, -0.5]),
        (3, [0, 0, 0], [0, -0.5, 0]),
    ],
)
def test_gradient_of_the_number_of_independent_dims(
    number: int, indicators: list[float], gradient: list[float]
) -> None:
    divergence = torch.tensor([[3.0, 1.0, 2.0]])
    for dim, expected in enumerate(gradient):
        num_independent = torch.tensor([float(number)], requires_grad=True)
        shared = shared_below(num_independent, divergence)
        assert shared.tolist() == [indicators]
        shared[0, dim].backward()
        assert num_independent.grad is not None and float(num_independent.grad) == expected


def test_drpm_partitions_the_dims() -> None:
    divergence = torch.rand(200, D).double()
    sharing = sharing_of("drpm")
    trace = poutine.trace(sharing).get_trace(divergence)
    partition = trace.nodes["Y"]["value"]
    assert partition.shape == (200, 2, D)
    assert (partition.sum(-2) == 1).all() and len(partition.unique(dim=0)) > D
    assert torch.equal(trace.nodes["_RETURN"]["value"], partition[:, 1])


@pytest.mark.parametrize(("method", "num_choices"), [("hg", 1), ("drpm", math.comb(D, 2))])
def test_modal_sizes_have_no_noise(method: Method, num_choices: int) -> None:
    divergence = torch.tensor([1.0, 1.1, 1.2, 1.3]).double().expand(500, D)
    sharing = new_sharing(method, sizes="modal", hg_sizes="modal").double()
    shared = sharing(divergence)
    assert (shared.sum(-1) == D / 2).all()  # equal weights
    assert len(shared.unique(dim=0)) == num_choices
    sharing.weights.linear.bias.data += torch.tensor([0.0, 20.0])
    assert (sharing(divergence) == 1).all()


def test_scores_of_the_posterior_are_powers_of_divergences_times_the_scores_of_the_prior() -> None:
    divergence = torch.rand(B, D).double()
    sharing = sharing_of("drpm", **LEARNED_SCORES)
    prior = sites(sharing.prior)["Y"]["fn"]
    torch.testing.assert_close(sharing.partition(divergence).s, (prior.s * divergence) ** 2)
    assert prior.log_s.std() > 0.1


def test_without_learned_scores_all_dims_are_shared_alike_a_priori() -> None:
    prior = sites(sharing_of("drpm").prior)["Y"]["fn"]
    assert torch.equal(prior.log_s, torch.zeros(D, dtype=torch.double))


def test_drpm_makes_the_farthest_dims_independent() -> None:
    # Scores so far apart that no noise can change their order.
    divergence = torch.tensor([1e-6, 1e6, 1.0, 1e12]).double().expand(100, -1)
    sharing = new_sharing("drpm").double()
    shared = sharing(divergence)
    by_number = {int(row.sum()): row.tolist() for row in shared}
    assert by_number == {
        number: row for number, row in enumerate(NEAREST_FIRST) if number in by_number
    }
    assert len(by_number) > 2
    sharing.weights.linear.bias.data += torch.tensor([0.0, 20.0])
    assert (sharing.noiseless(divergence) == 1).all()


NEAREST_FIRST = [[0, 0, 0, 0], [1, 0, 0, 0], [1, 0, 1, 0], [1, 1, 1, 0], [1, 1, 1, 1]]


@pytest.mark.parametrize(
    ("method", "gradient"), [("hg", "flow"), ("drpm", "flow"), ("drpm", "relaxed")]
)
def test_shared_dims_have_gradients(method: Method, gradient: Gradient) -> None:
    sharing = sharing_of(method, gradient=gradient)
    divergence = torch.rand(B, D).double().requires_grad_()
    with pyro.plate("pairs", B):
        (sharing(divergence) * torch.randn(B, D)).sum().backward()
    for tensor in (divergence, *sharing.weights.parameters()):
        assert tensor.grad is not None and tensor.grad.abs().max() > 1e-6


@pytest.mark.parametrize("method", ["hg", "drpm"])
def test_sizes_depend_on_the_divergences_as_chosen(method: Method) -> None:
    divergence = torch.rand(B, D) + 0.5
    logarithmic, plain = (
        new_sharing(method, size_inputs=inputs) for inputs in ("log-divergence", "divergence")
    )
    for sharing, inputs in ((logarithmic, divergence.log()), (plain, divergence)):
        torch.nn.init.normal_(sharing.weights.linear.weight)
        weight, bias = sharing.weights.linear.parameters()
        law = sharing.partition(divergence) if method == "drpm" else sharing.sizes(divergence)
        torch.testing.assert_close(law.log_omega, inputs @ weight.mT + bias)
