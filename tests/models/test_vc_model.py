# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Model and guide of DRPM-VC against the formulas of the paper written out by hand."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from scipy.stats import multivariate_normal
from torch import Tensor
from torch.distributions import Bernoulli, Independent, MultivariateNormal, Normal
from torch.distributions.kl import kl_divergence

from models.vc.baselines import VaDEGuide, VaDEModel
from models.vc.categorical import CategoricalVCGuide, CategoricalVCModel
from models.vc.model import DRPMVCModel
from models.vc.networks import Autoencoder, encode
from models.vc.priors import ClusterPriors, Covariance, fit_mixture
from models.vc.scores import ScoreGuide, Sizes
from models.vc.sizes import WeightedSizes
from models.vc.subset_normal import SubsetNormal, divergences
from pyro_drpm.infer import TracePartition_ELBO
from pyro_drpm.types import Gradient
from tests.models.vc_runs import LATENT, K, N

L = 4
BETA, GAMMA, DELTA = 0.7, 0.8, 0.3
pytestmark = pytest.mark.usefixtures("seeded")


@pytest.fixture
def pair(network: Autoencoder, priors: ClusterPriors) -> tuple[DRPMVCModel, ScoreGuide]:
    model = DRPMVCModel(network.decoder, priors, WeightedSizes(priors), L, BETA)
    return model, ScoreGuide(
        network.encoder, priors, L, BETA, score_scale=0.5, sizes="sampled"
    ).double()


def logits(network: Autoencoder, z: Tensor) -> Tensor:
    decoded: Tensor = network.decoder.layers(z)
    return decoded


def sites(fn: Any, *args: Tensor) -> Any:
    return poutine.trace(fn).get_trace(*args).nodes


def test_sites_have_the_documented_shapes(pair: Any, images: Tensor) -> None:
    model, guide = (sites(module, images, images) for module in pair)
    assert guide["Y"]["value"].shape == model["Y"]["value"].shape == (L, K, N)
    assert guide["z"]["value"].shape == model["z"]["value"].shape == (N, LATENT)
    assert model["x"]["value"].shape == (N, 4) and model["x"]["is_observed"]
    for nodes in (model, guide):
        assert nodes["Y"]["scale"] == 1 / L
        assert nodes["z"]["scale"] == BETA
    assert (guide["Y"]["value"].sum(-2) == 1).all()


def log_sizes(log_omega: Tensor) -> Tensor:
    """Of all sizes that there are."""

    def weight(counts: tuple[int, ...]) -> Tensor:
        pairs = zip(counts, log_omega, strict=True)
        return sum((math.log(math.comb(N, c)) + c * w for c, w in pairs), torch.tensor(0.0))

    support = [c for c in itertools.product(range(N + 1), repeat=K) if sum(c) == N]
    return torch.stack([weight(c) for c in support]).log_softmax(0)


def log_ordering(ordering: list[int], log_s: Tensor) -> Tensor:
    ordered = log_s[ordering]
    return sum((ordered[i] - ordered[i:].logsumexp(0) for i in range(N)), torch.tensor(0.0))


def orderings(partition: Tensor) -> list[list[int]]:
    """All orderings that give a partition."""
    subsets = [row.nonzero().flatten().tolist() for row in partition]
    choices = itertools.product(*map(itertools.permutations, subsets))
    return [[i for subset in choice for i in subset] for choice in choices]


def partition_terms(partition: Tensor, q: Any, p: Any) -> Tensor:
    """Equations 49 and 50 for one partition, with the mean over its sizes."""
    possible = orderings(partition)
    of_sizes = log_sizes(q["omega"])
    divergence = (of_sizes.exp() * (of_sizes - log_sizes(p["omega"]))).sum()
    size_term = math.log(len(possible)) + divergence
    every = (list(order) for order in itertools.permutations(range(N)))
    of_q = torch.stack([log_ordering(order, q["s"]) for order in every]).max()
    of_p = log_ordering(possible[0], p["s"])  # all the same, since the scores are equal
    return GAMMA * size_term + DELTA * (of_q - of_p)


@pytest.mark.parametrize("changed", [False, True])
def test_loss_is_equations_47_to_50(
    pair: Any, network: Autoencoder, priors: ClusterPriors, images: Tensor, changed: bool
) -> None:
    model, guide = pair
    originals = torch.rand_like(images) if changed else images
    batch = (images, images, originals) if changed else (images, images)
    pyro.set_rng_seed(1)
    loss = TracePartition_ELBO("lemma", GAMMA, DELTA).differentiable_loss(model, guide, *batch)
    pyro.set_rng_seed(1)
    sampled = sites(guide, *batch)
    partitions, z = sampled["Y"]["value"], sampled["z"]["value"]

    def divergence(q: Normal) -> Tensor:
        return torch.stack(
            [kl_divergence(q, Normal(m, s)).sum(-1) for m, s in _components(priors)]
        )  # (K, n)

    kl, of_originals = (divergence(Normal(*network.encoder(x))) for x in (images, originals))
    loc, _ = network.encoder(originals)
    log_p = torch.stack([Normal(m, s).log_prob(loc).sum(-1) for m, s in _components(priors)])
    q = {
        "omega": (log_p.exp() / log_p.exp().sum(0)).mean(1).log(),
        "s": 0.5 * (K - of_originals.argmin(0)),
    }
    p = {"omega": priors.log_weight, "s": torch.zeros(N, dtype=torch.double)}
    reconstruction = (
        -Bernoulli(logits=logits(network, z), validate_args=False).log_prob(images.flatten(1)).sum()
    )
    expected = reconstruction
    for partition in partitions:
        latent_term = (partition * kl).sum()
        expected = expected + (BETA * latent_term + partition_terms(partition, q, p)) / L
    torch.testing.assert_close(loss, expected)


def _components(priors: ClusterPriors) -> list[tuple[Tensor, Tensor]]:
    return list(zip(priors.loc, priors.log_scale.exp(), strict=True))


@pytest.mark.parametrize("gradient", ["flow", "relaxed"])
@pytest.mark.parametrize("size_rule", ["nearest", "modal", "sampled"])
def test_partition_reaches_only_the_score_scale_of_the_guide(
    pair: Any, images: Tensor, gradient: Gradient, size_rule: Sizes
) -> None:
    _, guide = pair
    guide.sizes, guide.gradient = size_rule, gradient
    with torch.no_grad():  # two clusters that are nearest to some images each
        guide.priors.loc[:2] = guide.encoder(images)[0][[0, -1]]
        guide.priors.log_scale.zero_()
    weights = torch.randn(L, K, N, dtype=torch.double)
    (sites(guide, images, images)["Y"]["value"] * weights).sum().backward()
    assert guide.log_u.grad.abs() > 1e-6
    assert all(p.grad is None for p in guide.encoder.parameters())
    assert all(p.grad is None for p in guide.priors.parameters())


def test_every_trained_parameter_gets_a_gradient(pair: Any, images: Tensor) -> None:
    model, guide = pair
    objective = TracePartition_ELBO()(model, guide)
    objective(images, images).backward()
    missing = [name for name, p in objective.named_parameters() if p.grad is None]
    assert missing == []


def test_subset_normal_is_the_normal_of_the_subset() -> None:
    pyro.set_rng_seed(0)
    loc, scale = torch.randn(K, LATENT), torch.rand(K, LATENT) + 0.5
    subsets = torch.tensor([2, 0, 1, 2])
    prior = SubsetNormal(torch.eye(K)[subsets], Independent(Normal(loc, scale), 1))
    reference = Normal(loc[subsets], scale[subsets])
    z = torch.randn(4, LATENT)
    torch.testing.assert_close(prior.log_prob(z), reference.log_prob(z).sum(-1))
    draws = prior.sample((20_000,))
    assert draws.shape == (20_000, 4, LATENT)
    torch.testing.assert_close(draws.mean(0), reference.mean, atol=0.05, rtol=0)
    torch.testing.assert_close(draws.std(0), reference.stddev, atol=0.05, rtol=0)


def full_priors() -> ClusterPriors:
    priors = ClusterPriors(K, LATENT, "full").double()
    for parameter in priors.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    return priors


def covariances(priors: ClusterPriors) -> Tensor:
    clusters = priors.clusters
    assert isinstance(clusters, MultivariateNormal)
    return clusters.covariance_matrix.detach()


def test_full_covariances_are_those_of_scipy() -> None:
    priors, z = full_priors(), torch.randn(4, LATENT).double()
    assert (covariances(priors)[:, 0, 1].abs() > 1e-3).all()
    for k, covariance in enumerate(covariances(priors).numpy()):
        reference = multivariate_normal(priors.loc[k].detach().numpy(), covariance)
        expected = torch.as_tensor(reference.logpdf(z.numpy()))
        torch.testing.assert_close(priors.log_densities(z)[:, k], expected)


def test_divergence_from_full_covariances_is_an_integral() -> None:
    """By quadrature on a grid, whose error is far below the tolerance."""
    priors = full_priors()
    q = Independent(
        Normal(torch.randn(1, LATENT).double(), torch.full((1, LATENT), 0.6).double()), 1
    )
    line = torch.linspace(-6, 6, 241).double()
    grid = q.mean + torch.cartesian_prod(line, line)
    log_q = q.log_prob(grid)
    for k in range(K):
        terms = log_q.exp() * (log_q - priors.log_densities(grid)[:, k])
        expected = terms.sum() * (line[1] - line[0]) ** 2
        torch.testing.assert_close(
            divergences(q, priors.clusters)[0, k], expected, rtol=1e-5, atol=0
        )


def test_subset_normal_draws_from_full_covariances() -> None:
    pyro.set_rng_seed(0)
    priors, subsets = full_priors(), torch.tensor([2, 0])
    prior = SubsetNormal(torch.eye(K).double()[subsets], priors.clusters)
    draws = prior.sample((40_000,))
    for i, k in enumerate(subsets):
        mean, covariance = priors.loc[k].detach(), covariances(priors)[k]
        torch.testing.assert_close(draws[:, i].mean(0), mean, atol=0.05, rtol=0)
        torch.testing.assert_close(draws[:, i].mT.cov(), covariance, atol=0.15, rtol=0.05)


def test_priors_take_over_full_covariances() -> None:
    points = torch.randn(300, LATENT).double() @ torch.randn(LATENT, LATENT).double()
    mixture = fit_mixture(points, K, seed=0, covariance="full")
    priors = ClusterPriors(K, LATENT, "full").double()
    priors.copy_from(mixture)
    joint = (priors.log_densities(points) + priors.log_weight).logsumexp(-1)
    torch.testing.assert_close(joint, torch.as_tensor(mixture.score_samples(points.numpy())))
    membership = torch.rand(300, K).double().softmax(-1)
    priors.fit_to(points, membership)
    weights = membership[:, 1]
    expected = points.mT.cov(aweights=weights, correction=0) + 1e-4 * torch.eye(LATENT)
    torch.testing.assert_close(covariances(priors)[1], expected)
    before = priors.log_densities(points)
    priors.reorder(torch.tensor([2, 0, 1]))
    torch.testing.assert_close(priors.log_densities(points), before[:, [2, 0, 1]])


def spread(priors: ClusterPriors) -> Tensor:
    is_diagonal = priors.covariance == "diagonal"
    return priors.clusters.variance.detach() if is_diagonal else covariances(priors)


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_wider_priors_are_those_of_noisy_points(covariance: Covariance) -> None:
    """Each point is there twice for every axis, moved along it to both sides."""
    points = torch.randn(9, LATENT).double() @ torch.randn(LATENT, LATENT).double()
    moves = math.sqrt(LATENT * 0.25) * torch.cat([torch.eye(LATENT), -torch.eye(LATENT)])
    noisy = (points.unsqueeze(1) + moves).flatten(0, 1)
    priors, expected = (ClusterPriors(1, LATENT, covariance).double() for _ in range(2))
    priors.fit_to(points, torch.ones(len(points), 1).double())
    priors.widen(0.25)
    expected.fit_to(noisy, torch.ones(len(noisy), 1).double())
    torch.testing.assert_close(spread(priors), spread(expected))


def test_divergence_from_subset_normal_is_the_mean_over_partitions() -> None:
    pyro.set_rng_seed(0)
    loc, scale = torch.randn(K, LATENT), torch.rand(K, LATENT) + 0.5
    memberships = torch.eye(K)[torch.randint(K, (L, N))]
    q = Independent(Normal(torch.randn(N, LATENT), torch.rand(N, LATENT)), 1)
    of_mean = kl_divergence(
        q, SubsetNormal(memberships.mean(0), Independent(Normal(loc, scale), 1))
    )
    each = [kl_divergence(q.base_dist, Normal(m @ loc, m @ scale)).sum(-1) for m in memberships]
    torch.testing.assert_close(of_mean, torch.stack(each).mean(0))


def test_batch_weights_are_the_mean_responsibilities(priors: ClusterPriors) -> None:
    z = torch.randn(N, LATENT, dtype=torch.double)
    density = torch.stack([Normal(*c).log_prob(z).sum(-1).exp() for c in _components(priors)])
    expected = (density / density.sum(0)).mean(1)
    torch.testing.assert_close(priors.log_weights(z).exp(), expected)
    far = priors.log_weights(1e4 * z)
    assert far.isfinite().all()


def test_priors_take_over_a_mixture(priors: ClusterPriors) -> None:
    points = torch.randn(200, LATENT)
    mixture = fit_mixture(points, K, seed=0)
    before = list(priors.parameters())
    priors.copy_from(mixture)
    assert all(a is b for a, b in zip(before, priors.parameters(), strict=True))
    joint = priors.log_densities(points.double()) + priors.log_weight
    expected = torch.as_tensor(mixture.score_samples(points.double().numpy()))
    torch.testing.assert_close(joint.logsumexp(-1), expected)


def test_vade_loss_is_its_definition(
    network: Autoencoder, priors: ClusterPriors, images: Tensor
) -> None:
    model, guide = (
        VaDEModel(network.decoder, priors, BETA),
        VaDEGuide(network.encoder, priors, BETA),
    )
    pyro.set_rng_seed(1)
    loss = Trace_ELBO().differentiable_loss(model, guide, images, images)
    pyro.set_rng_seed(1)
    z = sites(guide, images, images)["z"]["value"]
    q = Normal(*network.encoder(images))
    log_joint = torch.stack([Normal(*c).log_prob(z).sum(-1) for c in _components(priors)], -1)
    log_prior = (log_joint + priors.log_weight.log_softmax(0)).logsumexp(-1)
    log_pixels = Bernoulli(logits=logits(network, z), validate_args=False).log_prob(
        images.flatten(1)
    )
    expected = BETA * (q.log_prob(z).sum() - log_prior.sum()) - log_pixels.sum()
    torch.testing.assert_close(loss, expected)


def test_loss_without_a_partition_is_its_definition(
    network: Autoencoder, priors: ClusterPriors, images: Tensor
) -> None:
    originals = torch.rand_like(images)
    model = CategoricalVCModel(network.decoder, priors, BETA)
    guide = CategoricalVCGuide(network.encoder, priors, BETA)
    pyro.set_rng_seed(1)
    loss = TraceMeanField_ELBO().differentiable_loss(model, guide, images, images, originals)
    pyro.set_rng_seed(1)
    sampled = sites(guide, images, images, originals)
    cluster, z = sampled["c"]["value"].argmax(-1), sampled["z"]["value"]

    def divergence(image: Tensor, k: int) -> Tensor:
        q = Normal(*(part[0] for part in network.encoder(image[None])))
        return kl_divergence(q, Normal(*_components(priors)[k])).sum()

    def bound(probs: Tensor, image: Tensor) -> Tensor:
        """What the loss of an image depends on the law of its cluster by."""
        weight = priors.log_weight.log_softmax(0)
        latent = torch.stack([divergence(image, k) for k in range(K)])
        return (probs * (probs.log() - weight + BETA * latent)).sum()

    expected = -Bernoulli(logits=logits(network, z), validate_args=False).log_prob(
        images.flatten(1)
    )
    expected = expected.sum()
    for i in range(N):
        probs = sampled["c"]["fn"].probs[i]
        others = dist.Dirichlet(torch.ones(50, K, dtype=torch.double)).sample()
        assert all(bound(probs, originals[i]) < bound(other, originals[i]) for other in others)
        of_cluster = (probs * (probs.log() - priors.log_weight.log_softmax(0))).sum()
        expected = expected + of_cluster + BETA * divergence(images[i], int(cluster[i]))
    torch.testing.assert_close(loss, expected)


def test_encode_gives_the_mean_of_all_images(network: Autoencoder, images: Tensor) -> None:
    loc, _ = network.encoder(images)
    torch.testing.assert_close(encode(network.encoder, images, batch_size=2), loc)


@pytest.mark.parametrize("seed", range(5))
def test_nearest_sizes_put_every_image_into_its_cluster(seed: int) -> None:
    pyro.set_rng_seed(seed)
    n, num_clusters = 200, 6
    priors = ClusterPriors(num_clusters, LATENT)
    torch.nn.init.normal_(priors.loc)
    loc = priors.loc[torch.rand(num_clusters).multinomial(n, replacement=True)].detach()
    loc = loc + 0.1 * torch.randn(n, LATENT)
    posterior = dist.Normal(loc, 0.1 * torch.ones(n, LATENT)).to_event(1)
    guide = ScoreGuide(torch.nn.Identity(), priors, L, sizes="nearest")
    partition = guide.partition(posterior)
    nearest = divergences(posterior, priors.clusters).argmin(-1)
    counts = torch.bincount(nearest, minlength=num_clusters)
    drawn = partition.expand([L]).sample()
    assert (drawn.sum(-1) - counts).abs().max() <= 1
    agreement = (drawn.argmax(-2) == nearest).double().mean()
    assert agreement >= 1 - num_clusters / n


def test_priors_take_over_the_moments_of_clusters() -> None:
    points = torch.tensor([[0.0, 1.0], [2.0, 5.0], [10.0, 10.0], [12.0, 10.5], [14.0, 11.0]])
    priors = ClusterPriors(2, 2)
    priors.fit_to(points, torch.eye(2)[[1, 1, 0, 0, 0]])
    torch.testing.assert_close(priors.loc.data, torch.tensor([[12.0, 10.5], [1.0, 3.0]]))
    variances = torch.tensor([[8 / 3, 1 / 6], [1.0, 4.0]])
    torch.testing.assert_close(priors.clusters.variance.data, variances + 1e-4)
    torch.testing.assert_close(priors.log_weight.data.exp(), torch.tensor([0.6, 0.4]))
