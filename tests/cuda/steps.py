# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Training steps of the library and of all models, for any device, in float64."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, get_args

import pyro
import pyro.distributions as dist
import torch
from pyro.infer.elbo import ELBO
from torch import Tensor, nn

from models.data import load_multi_task
from models.mtl.config import PRESETS as MTL_PRESETS
from models.mtl.train import TaskTraining
from models.vae.config import PRESETS as VAE_PRESETS
from models.vae.train import PairTraining
from models.vc.affinities import AffinityGuide, particle_elbo
from models.vc.baselines import VaDEGuide, VaDEModel
from models.vc.categorical import CategoricalVCGuide, CategoricalVCModel
from models.vc.config import PartitionSettings
from models.vc.methods import make_size_prior
from models.vc.model import DRPMVCModel
from models.vc.networks import Autoencoder
from models.vc.priors import ClusterPriors
from models.vc.scores import ScoreGuide
from models.vc.sizes import WeightedSizes
from pyro_drpm import DRPM, MultivariateFisherHypergeometric, PlackettLuce
from pyro_drpm.distributions import (
    DirichletMultinomialSizes,
    FixedSizes,
    MultinomialSizes,
    PitmanYorSizes,
    PotentialSizes,
    TiedPlackettLuce,
)
from pyro_drpm.infer import TracePartition_ELBO, temperature
from pyro_drpm.survival import CoxPartialLikelihood
from pyro_drpm.types import Bound, Estimator, Gradient

__all__ = ["STEPS", "Step"]


NUM_IMAGES, PIXELS, K, LATENT = 40, (1, 4, 4), 4, 3


class Step(NamedTuple):
    """A loss and what it is to be differentiated by."""

    loss: Callable[[], Tensor]
    parameters: Sequence[Tensor]

    def __call__(self) -> tuple[Tensor, ...]:
        """Give the loss and its gradients."""
        value = self.loss()
        gradients = torch.autograd.grad(value, self.parameters, allow_unused=True)
        return value.detach(), *(x for x in gradients if x is not None)

    @torch.no_grad()
    def change_parameters(self) -> None:
        """Take a step, in the place where they are."""
        for parameter in self.parameters:
            parameter += 0.1 * torch.ones_like(parameter).cumsum(-1).sin()


def random(*shape: int, device: torch.device, grad: bool = True) -> Tensor:
    """Numbers that are the same on all devices."""
    generator = torch.Generator().manual_seed(sum(shape))
    values = torch.randn(shape, generator=generator, dtype=torch.float64)
    return values.to(device).requires_grad_(grad)


def draws_and_masses(gradient: Gradient, n: int, device: torch.device) -> Step:
    log_omega, log_s = random(2, 3, device=device), random(2, n, device=device)
    weight = random(3, n, device=device, grad=False)

    def loss() -> Tensor:
        d = DRPM(log_omega=log_omega, log_s=log_s, gradient=gradient, validate_args=False)
        Y = d.rsample((4,))
        lower, upper = d.log_prob_bounds(Y)
        return (Y * weight).sum() + (d.log_prob(Y) + lower + upper).sum()

    return Step(loss, [log_omega, log_s])


def masses(device: torch.device) -> Step:
    log_omega, log_s = random(3, device=device), random(20, device=device)
    Y = torch.eye(3, dtype=torch.float64)[torch.arange(20) % 3].mT.to(device)

    def loss() -> Tensor:
        d = DRPM(log_omega=log_omega, log_s=log_s, validate_args=False)
        lower, upper = d.log_prob_bounds(Y)
        return d.log_prob(Y) + lower + upper

    return Step(loss, [log_omega, log_s])


# Each of nine elements and three subsets, from parameters (4, 3).
LAWS_OF_SIZES: dict[str, Callable[[Tensor], Any]] = {
    "fisher": lambda w: MultivariateFisherHypergeometric(9, log_omega=w, validate_args=False),
    "bounded-fisher": lambda w: MultivariateFisherHypergeometric(
        9, log_omega=w, capacities=every(w, 5), minimum=every(w, 1), validate_args=False
    ),
    "multinomial": lambda w: MultinomialSizes(9, log_omega=w, validate_args=False),
    "bounded-multinomial": lambda w: MultinomialSizes(
        9, log_omega=w, maximum=every(w, 5), validate_args=False
    ),
    "dirichlet-multinomial": lambda w: DirichletMultinomialSizes(9, w.exp(), validate_args=False),
    "potential": lambda w: PotentialSizes(
        w.unsqueeze(-1) * torch.arange(10.0, device=w.device).sqrt(), validate_args=False
    ),
    "pitman-yor": lambda w: PitmanYorSizes(
        9, 3, w[:, 0].exp(), w[:, 1].sigmoid(), validate_args=False
    ),
    "fixed": lambda w: FixedSizes(torch.full_like(w, 3.0), 9, validate_args=False),
}


def every(w: Tensor, size: int) -> Tensor:
    """The same size for all subsets."""
    return torch.full((3,), size, device=w.device)


def law_of_sizes(build: Callable[[Tensor], Any], device: torch.device) -> Step:
    w, log_s = random(4, 3, device=device), random(4, 9, device=device)
    weight, sizes_weight = (random(4, *s, device=device, grad=False) for s in ((3, 9), (3,)))

    def loss() -> Tensor:
        law = build(w)
        sizes = law.rsample((2,))
        moments = (sizes_weight * (sizes + law.mean + law.variance + law.mode)).sum()
        partition = DRPM(sizes=law, log_s=log_s, validate_args=False)
        Y = partition.rsample()
        masses = law.log_prob(sizes.detach()).sum() + partition.log_prob(Y.detach()).sum()
        return moments + law.entropy().sum() + masses + (weight * Y).sum()

    return Step(loss, [w, log_s])


def ordering(device: torch.device) -> Step:
    log_s = random(9, device=device)

    def loss() -> Tensor:
        d = PlackettLuce(log_s=log_s, validate_args=False)
        return d.log_prob(d.sample((5,))).sum()

    return Step(loss, [log_s])


def noiseless(device: torch.device) -> Step:
    log_omega, log_s = random(2, 3, device=device), random(2, 9, device=device)
    weight = random(3, 9, device=device, grad=False)

    def loss() -> Tensor:
        d = DRPM(log_omega=log_omega, log_s=log_s, validate_args=False)
        return (weight * d.noiseless).sum()

    return Step(loss, [log_omega, log_s])


def rows_of_scores(device: torch.device) -> Step:
    log_s, weight = random(3, 12, device=device), random(3, 12, device=device, grad=False)

    def loss() -> Tensor:
        sizes = FixedSizes(log_s.new_full((3,), 4.0), 12, validate_args=False)
        d = DRPM(sizes=sizes, log_subset_s=log_s, validate_args=False)
        Y = d.rsample((4,))
        return (Y * weight).sum() + d.log_prob(Y.detach()).sum()

    return Step(loss, [log_s])


def elbo_step(bound: Bound, estimator: Estimator, device: torch.device) -> Step:
    log_omega, log_s, loc = (random(*shape, device=device) for shape in ((3,), (20,), ()))
    data = random(20, device=device, grad=False)
    one = torch.ones_like(loc)  # numbers wait for a GPU: torch copies them

    def model() -> None:
        ones = torch.ones_like
        Y = pyro.sample("Y", DRPM(ones(log_omega), ones(log_s), validate_args=False))
        z = pyro.sample("z", dist.Normal(torch.zeros_like(loc), one, validate_args=False))
        locations = z + torch.arange(3.0, device=device, dtype=Y.dtype) @ Y
        likelihood = dist.Normal(locations, one, validate_args=False).to_event(1)
        pyro.sample("x", likelihood, obs=data)

    def guide() -> None:
        pyro.sample("Y", DRPM(log_omega=log_omega, log_s=log_s, validate_args=False))
        pyro.sample("z", dist.Normal(loc, one, validate_args=False))

    elbo = TracePartition_ELBO(bound, estimator=estimator, num_particles=3)
    return Step(lambda: elbo.differentiable_loss(model, guide), [log_omega, log_s, loc])


def means(device: torch.device) -> Step:
    log_omega, log_s = random(2, 3, device=device), random(2, 9, device=device)
    weight = random(3, 9, device=device, grad=False)

    def loss() -> Tensor:
        d = DRPM(log_omega=log_omega, log_s=log_s, validate_args=False)
        return (d.mean * weight).sum() + d.sizes.entropy().sum()

    return Step(loss, [log_omega, log_s])


def tied_rankings(device: torch.device) -> Step:
    log_s, sizes = random(9, device=device), torch.tensor([2, 4, 3], device=device)

    def loss() -> Tensor:
        d = TiedPlackettLuce(log_s=log_s, sizes=sizes, validate_args=False)
        return d.log_prob(d.sample((5,))).sum()

    return Step(loss, [log_s])


def cox_regression(device: torch.device) -> Step:
    log_hazard = random(12, device=device)
    times = torch.tensor([1.0, 1, 2, 2, 2, 3, 4, 4, 5, 5, 6, 6], device=device)
    events = torch.tensor([1.0, 1, 1, 0, 1, 1, 1, 1, 0, 1, 1, 0], device=device).bool()
    likelihood = CoxPartialLikelihood(times, events)
    return Step(lambda: likelihood(log_hazard), [log_hazard])


def clustering(
    make: Callable[[Autoencoder, ClusterPriors], tuple[nn.Module, nn.Module, ELBO]],
    device: torch.device,
) -> Step:
    """A step of models.vc with networks of random weights."""
    pyro.set_rng_seed(0)
    network, priors = Autoencoder(16, (8,), LATENT).double(), ClusterPriors(K, LATENT).double()
    nn.init.normal_(priors.loc)
    images = torch.rand(NUM_IMAGES, *PIXELS, dtype=torch.float64).to(device)
    model, guide, elbo = make(network, priors)
    objective = elbo(model, guide).to(device)
    parameters = [p for p in objective.parameters() if p.requires_grad]
    return Step(lambda: objective(images, images), parameters)


def papers(network: Autoencoder, priors: ClusterPriors) -> Any:
    guide = ScoreGuide(network.encoder, priors, 3, sizes="sampled", gradient="relaxed")
    model = DRPMVCModel(network.decoder, priors, WeightedSizes(priors), num_partitions=3)
    return model, guide.double(), TracePartition_ELBO("lemma", delta=0.01)


def affinities(settings: PartitionSettings, network: Autoencoder, priors: ClusterPriors) -> Any:
    sizes = make_size_prior(settings, priors, 2 * NUM_IMAGES).double()
    model = DRPMVCModel(network.decoder, priors, sizes, num_partitions=1)
    return model, AffinityGuide(network.encoder, priors, sizes), particle_elbo(2)


def vade(network: Autoencoder, priors: ClusterPriors) -> Any:
    model, guide = VaDEModel(network.decoder, priors), VaDEGuide(network.encoder, priors)
    return model, guide, TracePartition_ELBO()


def categorical(network: Autoencoder, priors: ClusterPriors) -> Any:
    model = CategoricalVCModel(network.decoder, priors)
    return model, CategoricalVCGuide(network.encoder, priors), TracePartition_ELBO()


def pairs(device: torch.device) -> Step:
    pyro.set_rng_seed(0)
    config = dataclasses.replace(
        VAE_PRESETS["scene"], image_size=16, width=4, num_features=16, latent_dim=4
    )
    training = PairTraining(config, "drpm", (1, 16, 16)).double().to(device)
    images = torch.rand(6, 2, 1, 16, 16, dtype=torch.float64).to(device)

    def loss() -> Tensor:
        with temperature(0.6):
            value: Tensor = training.objective(images)
        return value

    return Step(loss, list(training.parameters()))


def tasks(device: torch.device) -> Step:
    pyro.set_rng_seed(0)
    data = load_multi_task("multi-digits")
    config = dataclasses.replace(MTL_PRESETS["multi-digits"], num_features=8, partition="sample")
    training = TaskTraining(config, "drpm", data).double().to(device)
    images = data.normalize(data.train_images[:20]).double().to(device)
    labels = data.train_labels[:20].to(device)
    return Step(lambda: training.objective(images, labels), list(training.parameters()))


STEPS: dict[str, Callable[[torch.device], Step]] = {
    **{
        f"draws-{gradient}-{n}": partial(draws_and_masses, gradient, n)
        for gradient in get_args(Gradient)
        for n in (20, 300)
    },
    **{
        f"elbo-{bound}-{estimator}": partial(elbo_step, bound, estimator)
        for bound in get_args(Bound)
        for estimator in get_args(Estimator)
    },
    **{f"sizes-{law}": partial(law_of_sizes, build) for law, build in LAWS_OF_SIZES.items()},
    "masses": masses,
    "noiseless": noiseless,
    "ordering": ordering,
    "rows-of-scores": rows_of_scores,
    "means": means,
    "tied-rankings": tied_rankings,
    "cox-regression": cox_regression,
    "vc-paper": partial(clustering, papers),
    "vc-known-sizes": partial(clustering, partial(affinities, PartitionSettings())),
    "vc-bounded-sizes": partial(
        clustering, partial(affinities, PartitionSettings(sizes_law="bounded", min_size=3))
    ),
    "vc-learned-sizes": partial(
        clustering, partial(affinities, PartitionSettings(sizes_law="learned"))
    ),
    "vc-vade": partial(clustering, vade),
    "vc-categorical": partial(clustering, categorical),
    "vae": pairs,
    "mtl": tasks,
}
"""Makers of steps by name."""
