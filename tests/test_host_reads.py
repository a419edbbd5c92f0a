# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Nothing reads a value back to the host or moves one from it, which would wait for a GPU.

On the meta device, which has shapes and no values, whoever asks for one gets an error. Steps of
everything else are in :mod:`tests.cuda`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

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
from pyro_drpm import DRPM
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
