# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""DRPM-VC with affinities, laws of the sizes and starts, against enumerated partitions."""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal
from torch.distributions.kl import kl_divergence

from models.vc.affinities import AffinityGuide, particle_elbo
from models.vc.config import PartitionSettings
from models.vc.methods import make_size_prior
from models.vc.model import DRPMVCModel
from models.vc.networks import Autoencoder
from models.vc.priors import ClusterPriors
from models.vc.scores import ScoreGuide
from models.vc.sizes import equal_sizes
from models.vc.starts import STARTS, Start
from models.vc.subset_normal import divergences
from pyro_drpm import DRPM
from pyro_drpm.distributions import FixedSizes
from pyro_drpm.metrics import adjusted_rand_index
from tests.models.vc_runs import N

BETA = 0.7
pytestmark = pytest.mark.usefixtures("seeded")


LAWS = {
    "equal": PartitionSettings(),
    "fixed": PartitionSettings(cluster_sizes=(3, 1, 1)),
    "nearly": PartitionSettings(size_spread=0.4),
    "bounded": PartitionSettings(sizes_law="bounded", min_size=1, max_size=2),
    "learned": PartitionSettings(sizes_law="learned"),
    "weighted": PartitionSettings(sizes_law="weighted"),
}
laws = pytest.mark.parametrize("law", LAWS)


@laws
def test_loss_with_affinities_has_the_mean_of_enumerated_partitions(
    network: Autoencoder, priors: ClusterPriors, images: Tensor, law: str
) -> None:
    size_prior = make_size_prior(LAWS[law], priors, N).double()
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
            for c in zip(priors.loc, priors.log_scale.exp(), strict=True)
        ]
    )
    of_latents = BETA * (every * kl).sum((-2, -1))
    expected = (log_q[some].exp() * (log_q - log_p + of_latents)[some]).sum()
    elbo = particle_elbo(2000)
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


@laws
def test_partition_from_affinities_is_close_to_the_posterior(
    network: Autoencoder, priors: ClusterPriors, images: Tensor, law: str
) -> None:
    size_prior = make_size_prior(LAWS[law], priors, N).double()
    beta = 3.0
    posterior = AffinityGuide(network.encoder, priors, size_prior).posterior(3 * images)
    p = DRPM(sizes=size_prior(N), log_s=torch.zeros(N).double())
    every = p.enumerate_support()
    log_w = -beta * divergences(posterior, priors.clusters).mT
    best = (p.log_prob(every) + (every * log_w).sum((-2, -1))).log_softmax(0)

    def divergence(guide: Any) -> float:
        log_q = guide.partition(posterior).log_prob(every)
        some = log_q > -torch.inf
        return (log_q[some].exp() * (log_q - best)[some]).sum().item()

    near = divergence(AffinityGuide(network.encoder, priors, size_prior, beta))
    unaware = divergence(AffinityGuide(network.encoder, priors, size_prior))
    assert near < 0.3 and near < unaware / 2
    if law == "weighted":  # the others say that some partitions are impossible
        paper = ScoreGuide(network.encoder, priors, 1, sizes="sampled").double()
        assert divergence(paper) > 0.3


def test_equal_sizes_add_up() -> None:
    for n, sizes in {8: [3, 3, 2], 2: [1, 1, 0], 9: [3, 3, 3]}.items():
        assert equal_sizes(n, torch.zeros(3)).sizes.tolist() == sizes
    law = make_size_prior(PartitionSettings(), ClusterPriors(3, 1), 8)(8)
    assert isinstance(law, FixedSizes) and law.sizes.tolist() == [3, 3, 2]
    near = make_size_prior(PartitionSettings(size_spread=0.2), ClusterPriors(3, 1), 300)(300)
    assert near.stddev.tolist() == pytest.approx([20 * math.sqrt(2 / 3)] * 3, rel=1e-3)


def test_a_start_with_equal_sizes_finds_what_the_likeliest_mixture_does_not() -> None:
    """One cluster has two lobes, the two others are near each other."""
    generator = torch.Generator().manual_seed(0)
    lobes = torch.tensor([[6.0, -4.0]] * 50 + [[6.0, 4.0]] * 50)
    near = torch.tensor([[0.0, -0.6]] * 100 + [[0.0, 0.6]] * 100)
    points = torch.cat([lobes, near]) + 0.4 * torch.randn(300, 2, generator=generator)
    truth = torch.arange(3).repeat_interleave(100)

    def agreement(start: Start) -> float:
        clusters = STARTS[start](points, 3, 0, "diagonal").log_densities(points).argmax(-1)
        return adjusted_rand_index(truth, clusters)

    assert agreement("equal-sizes") > 0.8
    assert agreement("mixture") < 0.7 and agreement("k-means") < 0.7
    first, again = (STARTS["equal-sizes"](points, 3, 0, "diagonal").loc for _ in range(2))
    assert torch.equal(first, again)
