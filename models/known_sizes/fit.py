# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Stochastic variational inference for the mixture, and what it says."""

from __future__ import annotations

from typing import NamedTuple

import pyro
import torch
from pyro.infer import SVI
from pyro.optim import ClippedAdam
from torch import Tensor

from models.known_sizes.model import Mixture, MixtureGuide
from pyro_drpm.infer import TracePartition_ELBO

__all__ = ["Fit", "fit_mixture"]

_LEARNING_RATE, _DECAY = 0.05, 0.1  # which it falls by in the end
_DRAWS = 200  # for what is said in the end


class Fit(NamedTuple):
    """What a method says about the clusters.

    Attributes:
        probs: Probabilities of each point to be in each cluster, shape ``(n, K)``.
        loss: Negative ELBO, or another bound of the negative log-evidence, or none.
        clusters: One cluster for each point, shape ``(n,)``.
    """

    probs: Tensor
    loss: float | None
    clusters: Tensor


def fit_mixture(
    mixture: Mixture, points: Tensor, *, num_steps: int, num_particles: int, seed: int
) -> Fit:
    """Fit model and guide, with score-function gradients that have no bias.

    Args:
        mixture: The model, at its start; it is trained in place.
        points: Shape ``(n, D)``.
        num_steps: Steps of the optimiser.
        num_particles: Partitions drawn in each of them.
        seed: Of Pyro's random numbers.
    """
    pyro.set_rng_seed(seed)
    guide = MixtureGuide(mixture, len(points))
    optimizer = ClippedAdam({"lr": _LEARNING_RATE, "lrd": _DECAY ** (1 / num_steps)})
    with pyro.get_param_store().scope():
        svi = SVI(mixture, guide, optimizer, _elbo(num_particles))
        for _ in range(num_steps):
            svi.step(points)
        with torch.no_grad():
            loss = _elbo(_DRAWS).loss(mixture, guide, points)
            draws = guide.partition(points).sample((_DRAWS,))
    probs = draws.mean(0).mT
    return Fit(probs, loss, probs.argmax(-1))


def _elbo(num_particles: int) -> TracePartition_ELBO:
    return TracePartition_ELBO(
        estimator="rloo",
        num_particles=num_particles,
        vectorize_particles=True,
        max_plate_nesting=0,
    )
