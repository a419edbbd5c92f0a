# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Posteriors of two views, how far they are apart, and their averages."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.distributions import Normal

from models.vae.posteriors import Average, Posterior, aggregate, average, symmetric_divergence
from tests.models.view_pairs import B, D, both_directions, random_indicators

pytestmark = pytest.mark.usefixtures("seeded")


def test_divergence_is_the_mean_of_both_kl_divergences(views: Posterior) -> None:
    expected = torch.stack([both_directions(*pair) for pair in zip(*views, strict=True)])
    torch.testing.assert_close(symmetric_divergence(views), expected)


def test_divergence_of_equal_views_has_a_logarithm(views: Posterior) -> None:
    equal = Posterior(*(values[:, :1].expand(-1, 2, -1) for values in views))
    assert (symmetric_divergence(equal) == 1e-6).all()


def test_gvae_takes_the_mean_of_means_and_of_variances(views: Posterior) -> None:
    common = average(views, "gvae")
    for of_common, of_views in zip(common, views, strict=True):
        assert of_common.shape == (B, 1, D)
        torch.testing.assert_close(of_common[:, 0], (of_views[:, 0] + of_views[:, 1]) / 2)


def test_mlvae_takes_the_product_of_the_densities(views: Posterior) -> None:
    common = average(views, "mlvae")
    grid = torch.linspace(-12, 12, 4001, dtype=torch.double)
    for pair, dim in itertools.product(range(B), range(D)):
        mean, variance = (values[pair, :, dim] for values in views)
        density = Normal(mean[0], variance[0].sqrt()).log_prob(grid).exp()
        density = density * Normal(mean[1], variance[1].sqrt()).log_prob(grid).exp()
        density = density / density.sum()
        expected = (grid * density).sum()
        torch.testing.assert_close(common.mean[pair, 0, dim], expected)
        spread = ((grid - expected).square() * density).sum()
        torch.testing.assert_close(common.variance[pair, 0, dim], spread)


@pytest.mark.parametrize("kind", ["gvae", "mlvae"])
def test_aggregate_averages_the_shared_dims_alone(views: Posterior, kind: Average) -> None:
    shared = random_indicators(B, D)
    common = average(views, kind)
    for result, of_common, own in zip(aggregate(views, shared, kind), common, views, strict=True):
        for pair, view, dim in itertools.product(range(B), range(2), range(D)):
            expected = of_common[pair, 0, dim] if shared[pair, dim] else own[pair, view, dim]
            assert result[pair, view, dim] == expected


@pytest.mark.parametrize("part", [0, 1], ids=Posterior._fields)
def test_indicators_get_the_difference_that_sharing_makes(views: Posterior, part: int) -> None:
    shared = random_indicators(B, D).requires_grad_()
    weights = torch.randn(B, 2, D).double()
    (aggregate(views, shared)[part] * weights).sum().backward()
    change = average(views)[part] - views[part]
    torch.testing.assert_close(shared.grad, (change * weights).sum(1))


def test_unknown_average_is_an_error(views: Posterior) -> None:
    with pytest.raises(ValueError, match="gvae, mlvae, but is 'mean'"):
        average(views, "mean")  # type: ignore[arg-type]
