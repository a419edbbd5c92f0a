# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""DRPM-VC with affinities, laws of the sizes and starts, against enumerated partitions."""

from __future__ import annotations

import math
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal
from torch.distributions.kl import kl_divergence

from models.vc.affinities import AffinityGuide
from models.vc.model import DRPMVCModel
from models.vc.networks import Autoencoder
from models.vc.priors import ClusterPriors, equal_sizes
from models.vc.scores import ScoreGuide
from models.vc.sizes import SizePriorName, make_size_prior
from models.vc.starts import STARTS
from models.vc.subset_normal import divergences
from pyro_drpm import DRPM
from pyro_drpm.distributions import FixedSizes
from pyro_drpm.infer import TracePartition_ELBO

N, K, LATENT, L = 5, 3, 2, 4
BETA = 0.7
pytestmark = pytest.mark.usefixtures("seeded")


@pytest.fixture
def network() -> Autoencoder:
    pyro.set_rng_seed(0)
    return Autoencoder(num_pixels=4, widths=(6, 5), latent_dim=LATENT).double()


@pytest.fixture
def priors() -> ClusterPriors:
    priors = ClusterPriors(K, LATENT).double()
    for parameter in priors.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return priors


@pytest.fixture
def images(network: Autoencoder) -> Tensor:
    return torch.rand(N, 1, 2, 2, dtype=torch.double)


SIZE_PRIORS: list[tuple[SizePriorName, float]] = [
    ("equal", 0.0),
    ("equal", 0.4),
    ("dirichlet", 0.0),
    ("weighted", 0.0),
]
size_priors = pytest.mark.parametrize(("name", "spread"), SIZE_PRIORS)


@size_priors
def test_loss_with_affinities_has_the_mean_of_enumerated_partitions(
    network: Autoencoder, priors: ClusterPriors, images: Tensor, name: SizePriorName, spread: float
) -> None:
    size_prior = make_size_prior(name, priors, spread).double()
    model = DRPMVCModel(network.decoder, priors, size_prior, 1, BETA)
    guide = AffinityGuide(network.encoder, priors, size_prior, BETA)
    posterior = guide.posterior(images)
    q, equal = guide.partition(posterior), torch.zeros(N).double()
    p = DRPM(sizes=size_prior(N), log_s=equal)
    every = q.enumerate_support()
    log_q, log_p = q.log_prob(every), p.log_prob(every)
    some = log_q > -torch.inf
    kl = torch.stack(
        [
            kl_divergence(posterior.base_dist, Normal(*c)).sum(-1)
            for c in zip(priors.loc, priors.scale, strict=True)
        ]
    )
    of_latents = BETA * (every * kl).sum((-2, -1))
    expected = (log_q[some].exp() * (log_q - log_p + of_latents)[some]).sum()
    elbo = TracePartition_ELBO(
        estimator="rloo", num_particles=2000, vectorize_particles=True, max_plate_nesting=1
    )
    blind = dist.Bernoulli(logits=torch.zeros(4).double(), validate_args=False)
    constant = -blind.log_prob(images.flatten(1)).sum()
    with torch.no_grad():
        for parameter in network.decoder.parameters():
            parameter.zero_()
    loss = elbo.differentiable_loss(model, guide, images, images)
    assert loss.item() == pytest.approx((expected + constant).item(), abs=0.1)
    # The gradient of the mean, for what draws depend on.
    leaves = [priors.loc, *network.encoder.heads.parameters()]
    exact = torch.autograd.grad(expected, leaves)
    found = torch.autograd.grad(loss, leaves)
    a, b = (torch.cat([g.flatten() for g in x]) for x in (exact, found))
    assert torch.cosine_similarity(a, b, 0) > 0.995
    assert (a - b).norm() < 0.1 * a.norm()


@size_priors
def test_partition_from_affinities_is_close_to_the_posterior(
    network: Autoencoder, priors: ClusterPriors, images: Tensor, name: SizePriorName, spread: float
) -> None:
    size_prior = make_size_prior(name, priors, spread).double()
    beta = 3.0
    posterior = AffinityGuide(network.encoder, priors, size_prior).posterior(3 * images)
    p = DRPM(sizes=size_prior(N), log_s=torch.zeros(N).double())
    every = p.enumerate_support()
    log_w = -beta * divergences(posterior, priors.loc, priors.scale).mT
    best = (p.log_prob(every) + (every * log_w).sum((-2, -1))).log_softmax(0)

    def divergence(guide: Any) -> float:
        log_q = guide.partition(posterior).log_prob(every)
        some = log_q > -torch.inf
        return (log_q[some].exp() * (log_q - best)[some]).sum().item()

    near = divergence(AffinityGuide(network.encoder, priors, size_prior, beta))
    unaware = divergence(AffinityGuide(network.encoder, priors, size_prior))
    assert near < 0.3 and near < unaware / 2
    if name == "weighted":  # the others say that some partitions are impossible
        paper = ScoreGuide(network.encoder, priors, L, sizes="sampled").double()
        assert divergence(paper) > 0.3


def test_equal_sizes_add_up() -> None:
    assert equal_sizes(8, 3).tolist() == [3, 3, 2] and equal_sizes(2, 3).tolist() == [1, 1, 0]
    law = make_size_prior("equal", ClusterPriors(3, 1))(8)
    assert isinstance(law, FixedSizes) and law.sizes.tolist() == [3, 3, 2]
    near = make_size_prior("equal", ClusterPriors(3, 1), spread=0.2)(300)
    assert near.stddev.tolist() == pytest.approx([20 * math.sqrt(2 / 3)] * 3, rel=1e-3)


def test_a_start_with_equal_sizes_does_not_merge_clusters() -> None:
    # Three clusters of the same size, two of which are close to each other; k-means splits the wide
    # one.
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(300, 2, generator=generator) * torch.tensor([[3.0]] * 100 + [[0.3]] * 200)
    centers = torch.tensor([[10.0, 0.0]] * 100 + [[0.0, 0.0]] * 100 + [[0.0, 2.0]] * 100)
    points = centers + noise
    priors = STARTS["equal-sizes"](points, 3, 0)
    loc = priors.loc.data[priors.loc.data.sum(-1).argsort()]
    torch.testing.assert_close(
        loc, torch.tensor([[0.0, 0.0], [0.0, 2.0], [10.0, 0.0]]), atol=0.7, rtol=0
    )
    again = STARTS["equal-sizes"](points, 3, 0)
    assert torch.equal(priors.loc, again.loc)
