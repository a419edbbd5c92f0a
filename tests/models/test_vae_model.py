# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""DRPM-VAE and its baselines against the formulas of the papers written out by hand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, Literal

import pyro
import pytest
import torch
import torch.nn.functional as F
from pyro import poutine
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from models.vae.model import PairGuide, PairModel
from models.vae.networks import Decoder, Encoder
from models.vae.pair_normal import SharedLatents
from models.vae.posteriors import Average, Posterior, aggregate, symmetric_divergence
from models.vae.sharing import Method
from pyro_drpm.infer import TracePartition_ELBO
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

BETA, GAMMA, DELTA = 0.7, 0.8, 0.3
METHODS: tuple[Method, ...] = ("label", "ada", "hg", "drpm")
METHODS_AND_OPTIONS: list[tuple[Method, dict[str, Any]]] = [
    *((method, {}) for method in METHODS),
    ("hg", {"hg_sizes": "modal"}),
    ("drpm", {"sizes": "modal"}),
    ("drpm", LEARNED_SCORES),
]
pytestmark = pytest.mark.usefixtures("seeded")


# The loss


class LinearEncoder(nn.Module):
    def __init__(self, num_pixels: int, latent_dim: int) -> None:
        super().__init__()
        self.heads = nn.Linear(num_pixels, 2 * latent_dim)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.heads(images.flatten(-3)).chunk(2, -1)
        return mean, log_variance.exp()


class LinearDecoder(nn.Module):
    def __init__(self, latent_dim: int, image_shape: Sequence[int]) -> None:
        super().__init__()
        self.image_shape = tuple(image_shape)
        self.logits = nn.Linear(latent_dim, math.prod(image_shape))

    def forward(self, z: Tensor) -> Tensor:
        return self.logits(z).unflatten(-1, self.image_shape)


SEED_OF_WEIGHTS = 1  # with which some dims are shared and some are not
IMAGE = (1, 2, 3)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(B, 2, *IMAGE, dtype=torch.double)


def linear_pair(
    method: Method,
    shared_latents: SharedLatents = "once",
    kind: Average = "gvae",
    gradient: Gradient = "flow",
    **options: Any,
) -> tuple[PairModel, PairGuide]:
    sharing = sharing_of(method, gamma=GAMMA, gradient=gradient, **options)
    encoder, decoder = LinearEncoder(math.prod(IMAGE), D), LinearDecoder(D, IMAGE)
    model = PairModel(decoder, sharing, BETA, shared_latents).double()
    return model, PairGuide(encoder, sharing, BETA, shared_latents, kind).double()


def divergence_of_sizes(log_omega: Tensor, fixed: bool) -> Tensor:
    """From Fisher's hypergeometric law with equal weights, for two subsets that can hold all.

    Of Fisher's law with other weights, or of its most probable sizes without noise.
    """
    of_q, of_p = log_sizes(log_omega), log_sizes(torch.zeros_like(log_omega))
    return -of_p[of_q.argmax()] if fixed else (of_q.exp() * (of_q - of_p)).sum()


def log_sizes(log_omega: Tensor) -> Tensor:

    def weight(number: int) -> Tensor:
        return math.log(math.comb(D, number) * math.comb(D, D - number)) + (
            number * log_omega[0] + (D - number) * log_omega[1]
        )

    return torch.stack([weight(number) for number in range(D + 1)]).log_softmax(0)


def log_ordering(ordering: Sequence[int], log_s: Tensor) -> Tensor:
    ordered = log_s[list(ordering)]
    return sum((ordered[i] - ordered[i:].logsumexp(0) for i in range(D)), torch.tensor(0.0))


def partition_term(
    partition: Tensor,
    log_omega: Tensor,
    log_s: Tensor,
    prior_log_s: Tensor,
    bound: Literal["lemma", "exact"],
    fixed: bool,
) -> Tensor:
    """The weighted terms of one partition; the prior has equal weights."""
    first = int(partition[0].sum())
    size_term = divergence_of_sizes(log_omega, fixed)
    every = list(itertools.permutations(range(D)))
    possible = [order for order in every if partition[0, list(order[:first])].all()]
    if bound == "lemma":
        size_term = size_term + math.log(len(possible))
        of_q = torch.stack([log_ordering(order, log_s) for order in every]).max()
        of_p = torch.stack([log_ordering(order, prior_log_s) for order in possible]).max()
    else:
        of_q, of_p = (
            torch.stack([log_ordering(order, scores) for order in possible]).logsumexp(0)
            for scores in (log_s, prior_log_s)
        )
    return GAMMA * size_term + DELTA * (of_q - of_p)


def latent_and_pixel_terms(
    model: PairModel, views: Posterior, shared: Tensor, z: Tensor, images: Tensor
) -> Tensor:
    """Equation 62 without the terms of the partition, for one pair."""
    standard = Normal(torch.zeros((), dtype=torch.double), 1.0)
    pixels = F.binary_cross_entropy_with_logits(model.decoder(z), images, reduction="none")
    total = 0.5 * (pixels[0].sum() + pixels[1].sum())
    for view, dim in itertools.product(range(2), range(D)):
        if not (view == 1 and shared[dim] and model.shared_latents == "once"):
            q = Normal(views.mean[view, dim], views.variance[view, dim].sqrt())
            total = total + BETA * 0.5 * kl_divergence(q, standard)
    return total


@pytest.mark.parametrize("bound", ["lemma", "exact"])
@pytest.mark.parametrize(("shared_latents", "kind"), [("once", "gvae"), ("per-view", "mlvae")])
@pytest.mark.parametrize(("method", "options"), METHODS_AND_OPTIONS)
def test_loss_is_equation_62(
    method: Method,
    options: dict[str, Any],
    shared_latents: SharedLatents,
    kind: Average,
    bound: Literal["lemma", "exact"],
    images: Tensor,
) -> None:
    pyro.set_rng_seed(SEED_OF_WEIGHTS)
    model, guide = linear_pair(method, shared_latents, kind, **options)
    pyro.set_rng_seed(2)
    elbo = TracePartition_ELBO(bound, GAMMA, DELTA)
    loss = elbo.differentiable_loss(model, guide, images)
    pyro.set_rng_seed(2)
    sampled = sites(guide, images)
    z = sampled["z"]["value"]
    own = Posterior(*guide.encoder(images))
    divergence = torch.stack([both_directions(*pair) for pair in zip(*own, strict=True)])
    shared = sampled["Y"]["value"][:, 1] if method == "drpm" else sampled["shared"]["value"]
    assert 0 < shared.sum() < B * D

    expected = torch.zeros((), dtype=torch.double)
    for i, both in enumerate(zip(*aggregate(own, shared, kind), strict=True)):
        views = Posterior(*both)
        expected = expected + latent_and_pixel_terms(model, views, shared[i], z[i], images[i])
        if method == "drpm":
            log_omega = guide.sharing.weights.linear(divergence[i].log())
            partition, scale = sampled["Y"]["value"][i], options.get("score_scale", 1.0)
            prior_log_s = torch.zeros(D).double()
            if "prior_scores" in options:
                prior_log_s = 30 * guide.sharing.scores
            log_s = scale * (divergence[i].log() + prior_log_s)
            fixed = options.get("sizes") == "modal"
            scores = log_s, prior_log_s
            expected = expected + partition_term(partition, log_omega, *scores, bound, fixed)
        else:
            expected = expected + D * math.log(2)  # a constant: any subset, whatever its size
        if method == "hg":
            log_omega = guide.sharing.weights.linear(divergence[i].log())
            fixed = options.get("hg_sizes") == "modal"
            expected = expected + GAMMA * divergence_of_sizes(log_omega, fixed)
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("method", METHODS)
def test_model_and_guide_share_the_same_dims(method: Method, images: Tensor) -> None:
    model, guide = linear_pair(method)
    trace = poutine.trace(guide).get_trace(images)
    sampled: Any = trace.nodes
    replayed = sites(poutine.replay(model, trace=trace), images)
    assert torch.equal(replayed["z"]["fn"].shared, sampled["z"]["fn"].shared)
    first, second = sites(model, images)["z"]["value"].unbind(1)
    assert 0 < (first == second).sum() < B * D  # drawn from the model alone


@pytest.mark.parametrize("gradient", ["flow", "relaxed"])
@pytest.mark.parametrize(("method", "options"), METHODS_AND_OPTIONS)
def test_every_parameter_gets_a_gradient(
    method: Method, options: dict[str, Any], gradient: Gradient, images: Tensor
) -> None:
    objective = TracePartition_ELBO()(*linear_pair(method, gradient=gradient, **options))
    objective(images).backward()
    for name, parameter in objective.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 1e-6, name


@pytest.mark.parametrize("in_common", [True, False], ids=["equal", "different"])
def test_training_shares_the_dims_of_equal_views_and_few_of_different_ones(
    in_common: bool,
) -> None:
    shape = (1, 16, 16)  # four factors, each of which shades a quarter of the image

    def batch(size: int) -> Tensor:
        first, second = torch.rand(2, size, D)
        shades = torch.stack([first, first if in_common else second], 1)
        return shades.repeat_interleave(64, -1).unflatten(-1, shape)

    sharing = new_sharing("drpm")
    encoder = LinearEncoder(math.prod(shape), D)
    objective = TracePartition_ELBO(gamma=0.25, delta=0.01)(
        PairModel(LinearDecoder(D, shape), sharing), PairGuide(encoder, sharing)
    )
    optimizer = torch.optim.Adam(objective.parameters(), 0.01)
    for _ in range(400):
        optimizer.zero_grad()
        objective(batch(32)).div(32).backward()
        optimizer.step()
    with torch.no_grad():
        shared = sharing.noiseless(symmetric_divergence(Posterior(*encoder(batch(500)))))
    number = float(shared.sum(-1).mean())
    # The prior makes the last of equal dims cost more than sharing it saves.
    assert number >= D - 1 if in_common else number < 1


# Networks


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 32, 32), (3, 16, 48)])
def test_networks_map_pairs_of_images(shape: tuple[int, int, int]) -> None:
    images = torch.rand(B, 2, *shape)
    encoder, decoder = Encoder(shape, 4, 8, D), Decoder(D, 8, 4, shape)
    mean, variance = encoder(images)
    assert mean.shape == variance.shape == (B, 2, D)
    assert (variance > 0).all()
    torch.testing.assert_close(encoder(images[1])[0], mean[1])
    assert decoder(mean).shape == images.shape
    torch.testing.assert_close(decoder(mean)[1], decoder(mean[1]))


@torch.no_grad()
def test_variances_are_bounded() -> None:
    encoder = Encoder((1, 16, 16), 4, 8, D)
    _, variance = encoder(torch.rand(B, 1, 16, 16) * 1e6)
    assert float(variance.min()) == pytest.approx(math.exp(-10))
    assert float(variance.max()) == pytest.approx(math.exp(10))


def test_networks_of_the_paper() -> None:
    shape = (3, 64, 64)
    encoder, decoder = Encoder(shape, 32, 256, 10), Decoder(10, 256, 32, shape)
    assert [tuple(p.shape) for p in encoder.parameters() if p.dim() > 1] == [
        *((32, 3, 4, 4), (32, 32, 4, 4), (64, 32, 2, 2), (64, 64, 2, 2)),
        *((256, 1024), (20, 256)),
    ]
    assert [tuple(p.shape) for p in decoder.parameters() if p.dim() > 1] == [
        *((256, 10), (1024, 256)),
        *((64, 64, 4, 4), (64, 32, 4, 4), (32, 32, 4, 4), (32, 3, 4, 4)),
    ]
    for network in (encoder, decoder):
        linear = [m for m in network.layers if isinstance(m, nn.Linear)]
        strides = [m.stride for m in network.layers if isinstance(m, nn.Conv2d)]
        strides += [m.stride for m in network.layers if isinstance(m, nn.ConvTranspose2d)]
        assert len(linear) == 2 and strides == [(2, 2)] * 4
        assert sum(isinstance(m, nn.ReLU) for m in network.layers) == 5


@pytest.mark.parametrize("shape", [(3, 30, 32), (1, 8, 8), (3, 33, 50), (1, 1, 3)])
def test_images_of_any_size(shape: tuple[int, int, int]) -> None:
    encoder, decoder = Encoder(shape, 4, 8, D), Decoder(D, 8, 4, shape)
    images = torch.rand(5, 2, *shape)
    mean, variance = encoder(images)
    assert mean.shape == variance.shape == (5, 2, D)
    assert decoder(mean).shape == images.shape
    # Every pixel counts, and every pixel is made.
    images.requires_grad_()
    (gradient,) = torch.autograd.grad(encoder(images)[0].square().sum(), images)
    assert (gradient != 0).float().mean() > 0.9
    (decoder(mean.detach()) - 1).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in decoder.parameters())
