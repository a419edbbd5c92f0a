# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The methods that are compared, in one table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from models.known_sizes.fit import Fit, fit_mixture
from models.known_sizes.model import Mixture
from models.known_sizes.rivals import (
    categorical_estimate,
    constrained_kmeans,
    gaussian_mixture,
    hard_em,
)
from models.known_sizes.starts import Start
from pyro_drpm.distributions import (
    DirichletMultinomialSizes,
    FixedSizes,
    MultinomialSizes,
    PotentialSizes,
    SizeDistribution,
)

__all__ = ["METHODS", "MethodName", "Task"]

MethodName = Literal[
    "known",
    "any-order",
    "bounds",
    "unknown",
    "hard-em",
    "k-means-constrained",
    "mixture",
    "categoricals",
]

_MARGIN = 0.2  # of the bounds around the least and the greatest size


@dataclass(frozen=True, eq=False)
class Task:
    """What all methods get.

    Attributes:
        points: Shape ``(n, D)``.
        sizes: Of the clusters, shape ``(K,)``.
        start: Where the clusters start.
        seed: Of the method.
        num_steps: Steps of a DRPM.
        num_particles: Partitions drawn in each of them.
    """

    points: Tensor
    sizes: Tensor
    start: Start
    seed: int
    num_steps: int
    num_particles: int

    @property
    def matched_sizes(self) -> Tensor:
        """The sizes in the order of the clusters."""
        return self.start.matched(self.sizes, self.points)


def known_sizes(task: Task) -> Fit:
    """DRPM with the sizes of the classes."""
    return _drpm(task, FixedSizes(task.matched_sizes))


def sizes_in_any_order(task: Task) -> Fit:
    """DRPM with the sizes of the classes, but any cluster may have any of them."""
    table = torch.full((len(task.points) + 1,), -torch.inf)
    table[task.sizes] = 0.0
    return _drpm(task, PotentialSizes(table.expand(len(task.sizes), -1)))


def bounded_sizes(task: Task) -> Fit:
    """DRPM with sizes between bounds, a fifth below the least class and above the greatest."""
    least, most = int(task.sizes.min() * (1 - _MARGIN)), int(task.sizes.max() * (1 + _MARGIN))
    sizes = MultinomialSizes(
        len(task.points),
        torch.ones(len(task.sizes)),
        minimum=torch.tensor(least),
        maximum=torch.tensor(most),
    )
    return _drpm(task, sizes)


def unknown_sizes(task: Task) -> Fit:
    """DRPM whose sizes are all as probable as each other."""
    return _drpm(task, DirichletMultinomialSizes(len(task.points), torch.ones(len(task.sizes))))


def _drpm(task: Task, sizes: SizeDistribution) -> Fit:
    mixture = Mixture(sizes, *task.start)
    return fit_mixture(
        mixture,
        task.points,
        num_steps=task.num_steps,
        num_particles=task.num_particles,
        seed=task.seed,
    )


METHODS: dict[MethodName, Callable[[Task], Fit]] = {
    "known": known_sizes,
    "any-order": sizes_in_any_order,
    "bounds": bounded_sizes,
    "unknown": unknown_sizes,
    "hard-em": lambda task: hard_em(task.points, task.start, task.matched_sizes),
    "k-means-constrained": lambda task: constrained_kmeans(
        task.points, task.start, task.sizes, task.seed
    ),
    "mixture": lambda task: gaussian_mixture(task.points, task.start),
    "categoricals": lambda task: categorical_estimate(task.points, task.start, task.seed),
}
