# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""What a way to fill the subsets is."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

__all__ = ["Assignment"]


class Assignment(ABC):
    """How subsets of given sizes get their elements, the second part of a :class:`~pyro_drpm.DRPM`.

    Args:
        log_s: Log-scores.
        batch_shape: Their batch shape.

    Attributes:
        num_elements: The number ``n`` of elements.
        has_ranks: Whether a draw is an ordering of the elements, so that it has neighbors and
            gradients along the flow between them.
    """

    has_ranks = False

    def __init__(self, log_s: Tensor, batch_shape: torch.Size) -> None:
        self.log_s, self.batch_shape = log_s, batch_shape
        self.num_elements = int(log_s.shape[-1])  # torch.jit.trace makes a tensor of it

    @abstractmethod
    def log_mass(self, Y: Tensor, hard: bool) -> Tensor:
        """``log p(Y | n_0, ..., n_{K-1})``, float64, shape ``(*sample, *batch)``.

        Args:
            Y: Partition matrix, shape ``(*sample, *batch, K, n)``, entries in [0, 1].
            hard: Whether its columns are one-hot.
        """

    @abstractmethod
    def log_best_ordering(self, Y: Tensor) -> Tensor:
        """Log-probability of the most probable ordering that gives ``Y``, float64."""

    @abstractmethod
    def log_highest_ordering(self) -> Tensor:
        """Log-probability of the most probable of all orderings, float64."""
