# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

r"""Score-function gradients with the mean of all other particles as the baseline (RLOO).

.. math::
    \nabla E f \approx \frac1S \sum_{i=1}^S \Big( f_i - \frac{1}{S - 1} \sum_{j \ne i} f_j \Big)
    \nabla \log q(Y_i),

without bias for any :math:`f` (Kool, van Hoof and Welling: Buy 4 REINFORCE samples, get a baseline
for free! 2019). The signal of a site is the sum of the costs that its draw can change: costs of
other elements of a plate are left out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from pyro.infer.util import MultiFrameTensor
from torch import Tensor

__all__ = ["Cost", "Score", "leave_one_out"]

_PARTICLES = "num_particles_vectorized"  # the plate of Pyro's vectorized particles


class Cost(NamedTuple):
    """A part of the loss: its value, and the plates that its dims belong to."""

    value: Tensor
    frames: Any


class Score(NamedTuple):
    """Log-probabilities of what a site drew, and the plates that their dims belong to."""

    log_prob: Tensor
    frames: Any


def leave_one_out(particles: list[tuple[list[Cost], list[Score]]]) -> Tensor | float:
    """Zero, with the gradient through the draws of all sites.

    Args:
        particles: Costs and scores of each; one entry that has a plate of particles counts for all
            of these.

    Returns:
        A scalar. The sum over particles, to be divided by their number.
    """
    signals = [_signals(costs, scores) for costs, scores in particles]
    total: Tensor | float = 0.0
    for site, of_particles in enumerate(zip(*signals, strict=True)):
        scores = [particle[1][site] for particle in particles]
        weights = _less_the_others_mean(list(of_particles), scores[0].frames)
        for score, weight in zip(scores, weights, strict=True):
            total = total + (weight * (score.log_prob - score.log_prob.detach())).sum()
    return total


def _signals(costs: list[Cost], scores: list[Score]) -> list[Tensor]:
    """Of each site, the sum of all costs, detached, in the shape of its plates."""
    sums = MultiFrameTensor(*((cost.frames, cost.value.detach()) for cost in costs))
    return [
        torch.as_tensor(sums.sum_to(score.frames)).expand(score.log_prob.shape) for score in scores
    ]


def _less_the_others_mean(signals: list[Tensor], frames: Any) -> list[Tensor]:
    dims = [frame.dim for frame in frames if frame.name == _PARTICLES]
    if not dims:
        number, total = len(signals), torch.stack(signals).sum(0)
        return [signal - (total - signal) / (number - 1) for signal in signals]
    (signal,), (dim,) = signals, dims
    number, total = signal.shape[dim], signal.sum(dim, keepdim=True)
    return [signal - (total - signal) / (number - 1)]
