# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Normal distribution of the latent variables of two views."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence

from models.vae.pair_normal import PairNormal, pair_normal
from models.vae.posteriors import Posterior, aggregate
from tests.models.view_pairs import B, D, random_indicators

pytestmark = pytest.mark.usefixtures("seeded")


def random_pairs() -> tuple[PairNormal, PairNormal]:
    """Two distributions that share the same dims, with one law per shared dim."""
    shared = random_indicators(B, D)
    assert 0 < shared.sum() < B * D

    def one() -> PairNormal:
        views = Posterior(torch.randn(B, 2, D).double(), torch.rand(B, 2, D).double() + 0.5)
        mean, variance = aggregate(views, shared)
        return PairNormal(mean, variance.sqrt(), shared)

    return one(), one()


def counted(terms: Tensor, shared: Tensor) -> Tensor:
    """Sum terms ``(B, 2, d)`` one by one, but those of the second view of shared dims."""
    totals = []
    for term, indicators in zip(terms, shared, strict=True):
        total = term.new_zeros(())
        for view, dim in itertools.product(range(2), range(D)):
            if view == 0 or not indicators[dim]:
                total = total + term[view, dim]
        totals.append(total)
    return torch.stack(totals)


def test_pair_density_and_divergence_count_shared_dims_once() -> None:
    q, p = random_pairs()
    z = q.sample()
    density = Normal(p.loc, p.scale).log_prob(z)
    torch.testing.assert_close(p.log_prob(z), counted(density, p.shared))
    divergence = kl_divergence(Normal(q.loc, q.scale), Normal(p.loc, p.scale))
    torch.testing.assert_close(kl_divergence(q, p), counted(divergence, q.shared))


def test_pair_divergence_is_the_expected_log_ratio() -> None:
    q, p = random_pairs()
    z = q.sample((20_000,))
    ratio = q.log_prob(z) - p.log_prob(z)
    error = ratio.std(0) / math.sqrt(len(z))
    assert ((ratio.mean(0) - kl_divergence(q, p)).abs() < 4 * error).all()


def test_pair_draws_are_equal_in_shared_dims_and_independent_in_others() -> None:
    q, _ = random_pairs()
    z = q.rsample((20_000,))
    assert z.shape == (20_000, B, 2, D)
    shared = q.shared.bool()
    assert torch.equal(z[..., 0, :][:, shared], z[..., 1, :][:, shared])
    noise = (z - q.loc) / q.scale
    tolerance = 5 / math.sqrt(len(z))
    torch.testing.assert_close(noise.mean(0), torch.zeros_like(q.loc), atol=tolerance, rtol=0)
    torch.testing.assert_close(noise.std(0), torch.ones_like(q.loc), atol=tolerance, rtol=0)
    correlation = (noise[..., 0, :] * noise[..., 1, :]).mean(0)
    assert correlation[~shared].abs().max() < tolerance


def test_pair_draws_are_reparametrised() -> None:
    loc, scale = (torch.rand(B, 2, D).double().requires_grad_() for _ in range(2))
    z = PairNormal(loc, scale, torch.zeros(B, D).double()).rsample()
    z.sum().backward()
    torch.testing.assert_close(loc.grad, torch.ones_like(loc))
    torch.testing.assert_close(scale.grad, ((z - loc) / scale).detach())


def test_sharing_a_dim_saves_the_terms_of_the_second_view() -> None:
    q, p = random_pairs()
    shared = q.shared.clone().requires_grad_()
    kl_divergence(PairNormal(q.loc, q.scale, shared), p).sum().backward()
    second = kl_divergence(Normal(q.loc, q.scale), Normal(p.loc, p.scale))[:, 1]
    torch.testing.assert_close(shared.grad, -second)
    shared, z = q.shared.clone().requires_grad_(), q.sample()
    PairNormal(q.loc, q.scale, shared).log_prob(z).sum().backward()
    torch.testing.assert_close(shared.grad, -Normal(q.loc, q.scale).log_prob(z)[:, 1])


def test_pair_normal_expands() -> None:
    q, _ = random_pairs()
    expanded = q.expand((5, B))
    assert expanded.batch_shape == (5, B) and expanded.event_shape == (2, D)
    z = expanded.sample()
    assert z.shape == (5, B, 2, D)
    torch.testing.assert_close(expanded.log_prob(z), q.log_prob(z))
    narrow = PairNormal(torch.zeros(2, D), torch.ones(2, D), torch.zeros(B, D))
    assert narrow.batch_shape == (B,) and narrow.sample().shape == (B, 2, D)


def test_latents_per_view_are_plain_normals() -> None:
    loc, scale = torch.randn(2, D).double(), torch.rand(2, D).double()
    plain = pair_normal(loc, scale, random_indicators(B, D), "per-view")
    assert plain.batch_shape == (B,) and plain.event_shape == (2, D)
    z = plain.sample()
    torch.testing.assert_close(plain.log_prob(z), Normal(loc, scale).log_prob(z).sum((-1, -2)))
    prior = Independent(Normal(torch.zeros(B, 2, D).double(), 1), 2)
    each = kl_divergence(Normal(loc, scale), Normal(torch.zeros_like(loc), 1))
    torch.testing.assert_close(kl_divergence(plain, prior), each.sum().expand(B))
