# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""No step reads a value back to the host or moves one from it, which would wait for a GPU.

On the meta device, which has shapes and no values, whoever asks for one gets an error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from models.vc.affinities import AffinityGuide, particle_elbo
from models.vc.config import PartitionSettings
from models.vc.methods import make_size_prior
from models.vc.model import DRPMVCModel
from models.vc.networks import Autoencoder
from models.vc.priors import ClusterPriors
from models.vc.scores import ScoreGuide, Sizes
from models.vc.sizes import SizesLaw, WeightedSizes
from pyro_drpm import DRPM, MultivariateFisherHypergeometric, PlackettLuce
from pyro_drpm.distributions import (
    DirichletMultinomialSizes,
    FixedSizes,
    MultinomialSizes,
    PitmanYorSizes,
    PotentialSizes,
    TiedPlackettLuce,
)
from pyro_drpm.infer import TracePartition_ELBO
from pyro_drpm.types import Gradient
from tests.host_copies import no_host_copies

META = torch.device("meta")


def parameter(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.zeros(shape, dtype=dtype, device=META, requires_grad=True)


def test_values_cannot_be_read() -> None:
    with pytest.raises(RuntimeError, match="meta"):
        parameter(3).sum().item()


@pytest.mark.parametrize(
    "move",
    [
        lambda x: torch.tensor(1.0, device=META),
        lambda x: x.new_tensor([1.0, 2.0]),
        lambda x: torch.zeros(3).to(x),
        lambda x: torch.zeros(()).to(META),
        lambda x: x[[0, 1]],
        lambda x: x[..., torch.tensor([0, 1])],
        lambda x: dist.Normal(x, 1.0, validate_args=False),  # torch copies numbers
    ],
)
def test_values_cannot_be_moved(move: Callable[[Tensor], object]) -> None:
    x = torch.zeros(3, device=META)
    with no_host_copies(), pytest.raises(RuntimeError, match="from the host"):
        move(x)


def test_numbers_of_kernels_can() -> None:
    x = torch.zeros(3, device=META)
    with no_host_copies():
        assert (2 * x + torch.tensor(1.0)).where(x > 0, -torch.inf).device == META


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("gradient", ["flow", "relaxed"])
@pytest.mark.parametrize("n", [20, 1000])  # with tables of the whole support, and of windows
def test_partitions(n: int, gradient: Gradient, dtype: torch.dtype) -> None:
    log_omega, log_s = parameter(4, 3, dtype=dtype), parameter(4, n, dtype=dtype)
    with no_host_copies():
        partition = DRPM(log_omega=log_omega, log_s=log_s, gradient=gradient, validate_args=False)
        partition = partition.expand([2, 4])
        Y = partition.rsample()
        lower, upper = partition.log_prob_bounds(Y)
        (Y.sum() + (partition.log_prob(Y) + lower + upper).sum()).backward()
    assert Y.shape == (2, 4, 3, n) and Y.dtype == dtype
    assert log_omega.grad is not None and log_s.grad is not None


@pytest.mark.parametrize(
    "build",
    [
        lambda w: MultinomialSizes(9, log_omega=w, validate_args=False),
        lambda w: MultinomialSizes(
            9, log_omega=w, maximum=torch.full((3,), 5, device=META), validate_args=False
        ),
        lambda w: DirichletMultinomialSizes(9, w.exp(), validate_args=False),
        lambda w: PotentialSizes(w.unsqueeze(-1).expand(4, 3, 10), validate_args=False),
        lambda w: PitmanYorSizes(9, 3, w[:, 0].exp(), w[:, 1].sigmoid(), validate_args=False),
        lambda w: FixedSizes(w + 3, 9, validate_args=False),
    ],
)
def test_laws_of_the_sizes(build: Any) -> None:
    w, log_s = parameter(4, 3), parameter(4, 9)
    with no_host_copies():
        law = build(w)
        draws = law.rsample((2,))
        moments = law.mean.sum() + law.variance.sum() + law.entropy().sum() + law.mode.sum()
        partition = DRPM(sizes=law, log_s=log_s, validate_args=False)
        Y = partition.rsample()
        (draws.sum() + law.log_prob(draws).sum() + moments + Y.sum()).backward()
        partition.log_prob(Y.detach())
    assert w.grad is not None and log_s.grad is not None


def test_partitions_drawn_stage_by_stage() -> None:
    log_s = parameter(4, 3, 20)
    with no_host_copies():
        sizes = FixedSizes(torch.ones(3, device=META), 20, validate_args=False)
        Y = DRPM(sizes=sizes, log_subset_s=log_s, validate_args=False).rsample((2,))
        Y.sum().backward()
    assert Y.device == META and log_s.grad is not None


def test_partitions_without_noise() -> None:
    log_omega, log_s = parameter(4, 3), parameter(4, 20)
    with no_host_copies():
        DRPM(log_omega=log_omega, log_s=log_s, validate_args=False).noiseless.sum().backward()
    assert log_omega.grad is not None and log_s.grad is not None


def test_components() -> None:
    of_groups = torch.ones(3, dtype=torch.int64, device=META)
    with no_host_copies():
        sizes = MultivariateFisherHypergeometric(9, log_omega=parameter(3), validate_args=False)
        (sizes.rsample().sum() + sizes.log_prob(sizes.sample()) + sizes.mean.sum()).backward()
        ordering = PlackettLuce(log_s=parameter(3), validate_args=False)
        ordering.log_prob(ordering.sample()).backward()
        rankings = TiedPlackettLuce(log_s=parameter(3), sizes=of_groups, validate_args=False)
        rankings.log_prob(rankings.sample()).backward()


@pytest.mark.parametrize("bound", ["lemma", "tight", "exact"])
def test_elbo(bound: Literal["lemma", "tight", "exact"]) -> None:
    log_omega, log_s, loc = parameter(3), parameter(20), parameter()
    one = torch.ones((), device=META)

    def model() -> None:
        prior = DRPM(torch.ones(3, device=META), torch.ones(20, device=META))
        Y = pyro.sample("Y", prior)
        z = pyro.sample("z", dist.Normal(torch.zeros((), device=META), one))
        locations = z + torch.arange(3.0, device=META) @ Y
        pyro.sample("x", dist.Normal(locations, one).to_event(1), obs=locations.detach())

    def guide() -> None:
        pyro.sample("Y", DRPM(log_omega=log_omega, log_s=log_s))
        pyro.sample("z", dist.Normal(loc, one))

    with pyro.validation_enabled(False), no_host_copies():
        loss = TracePartition_ELBO(bound, num_particles=2).differentiable_loss(model, guide)
        loss.backward()
    assert loss.device == META
    assert all(p.grad is not None for p in (log_omega, log_s, loc))


@pytest.mark.parametrize("sizes", get_args(Sizes))
def test_clustering(sizes: Sizes) -> None:
    network, priors = Autoencoder(16, (8,), 3).to(META), ClusterPriors(4, 3).to(META)
    model = DRPMVCModel(network.decoder, priors, WeightedSizes(priors), num_partitions=2)
    guide = ScoreGuide(network.encoder, priors, num_partitions=2, sizes=sizes).to(META)
    images, originals = torch.zeros(20, 1, 4, 4, device=META), torch.ones(20, 1, 4, 4, device=META)
    with pyro.validation_enabled(False), no_host_copies():
        elbo = TracePartition_ELBO("lemma")
        loss = elbo.differentiable_loss(model, guide, images, images, originals)
        loss.backward()
    assert loss.device == META
    assert guide.log_u.grad is not None and priors.log_weight.grad is not None


@pytest.mark.parametrize("law", get_args(SizesLaw))
@pytest.mark.parametrize("num_items", [20, 40])
@pytest.mark.parametrize("spread", [0.0, 0.1])
def test_clustering_with_affinities(law: SizesLaw, num_items: int, spread: float) -> None:
    settings = PartitionSettings(
        sizes_law=law, size_spread=spread, min_size=3 if law == "bounded" else None
    )
    network, priors = Autoencoder(16, (8,), 3).to(META), ClusterPriors(4, 3).to(META)
    size_prior = make_size_prior(settings, priors, num_items).to(META)
    model = DRPMVCModel(network.decoder, priors, size_prior, num_partitions=1)
    guide = AffinityGuide(network.encoder, priors, size_prior)
    images = torch.zeros(20, 1, 4, 4, device=META)
    with pyro.validation_enabled(False), no_host_copies():
        loss = particle_elbo(2).differentiable_loss(model, guide, images, images)
        loss.backward()
    assert loss.device == META and priors.loc.grad is not None
