# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Subsets that are filled in the order of a Plackett-Luce draw."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_drpm.distributions.assignment import Assignment
from pyro_drpm.distributions.plackett_luce import PlackettLuce
from pyro_drpm.ops.assignment.changes import Changes
from pyro_drpm.ops.assignment.exchanges import exchange_flow
from pyro_drpm.ops.assignment.marginals import assignment_marginals
from pyro_drpm.ops.assignment.mode import most_probable_partition
from pyro_drpm.ops.assignment.ordering_changes import best_ordering_changes
from pyro_drpm.ops.assignment.orderings import (
    log_best_ordering_probability,
    log_ordering_probability,
)
from pyro_drpm.ops.assignment.probability import log_assignment_probability
from pyro_drpm.ops.assignment.probability_changes import assignment_probability_changes
from pyro_drpm.ops.assignment.ranks import Ranks
from pyro_drpm.ops.labels import unsort
from pyro_drpm.ops.noise import gumbel

__all__ = ["ElementScores"]


class ElementScores(Assignment):
    """One score per element: the first subset takes the first elements of an ordering, and so on.

    Args:
        log_s: Log-scores, shape ``(*batch, n)``.
        validate_args: Whether to check values.
    """

    has_ranks = True

    def __init__(self, log_s: Tensor, validate_args: bool | None = None) -> None:
        super().__init__(log_s, log_s.shape[:-1])
        self.ordering = PlackettLuce(log_s=log_s, validate_args=validate_args)

    def __repr__(self) -> str:
        return repr(self.ordering)

    def log_mass(self, Y: Tensor, hard: bool) -> Tensor:
        return log_assignment_probability(self.log_s, Y, hard=hard)

    def log_best_ordering(self, Y: Tensor) -> Tensor:
        return log_best_ordering_probability(self.log_s, Y)

    def log_highest_ordering(self) -> Tensor:
        return log_ordering_probability(self.log_s, self.ordering.mode)

    def mean(self, survival: Tensor) -> Tensor:
        """Exact ``E[Y]``, shape ``(*batch, K, n)``, float64.

        Args:
            survival: Probabilities that a rank is in the first ``k`` subsets, shape
                ``(*batch, K - 1, n)``, float64.
        """
        return assignment_marginals(self.log_s, survival)

    def most_probable(self, log_potential: Tensor, empty_last: bool) -> Tensor:
        """The partition with the largest mass.

        Args:
            log_potential: ``log f_k`` of counts from 0 to ``n``, shape ``(*batch, K, n + 1)``.
            empty_last: Whether subsets are empty if and only if nothing is left over for them.

        Returns:
            Integers 0 and 1, shape ``(*batch, K, n)``.
        """
        return most_probable_partition(self.log_s, log_potential, empty_last)

    def draw_ranks(self, counts: Tensor) -> Ranks:
        """Elements ranked by log-scores plus standard Gumbel noise.

        Args:
            counts: Sizes of the subsets, shape ``(*sample, *batch, K)``.
        """
        log_s = self.log_s.detach().double()
        noise = gumbel(torch.Size((*counts.shape[:-1], self.num_elements)), log_s.device)
        return Ranks.of(counts, log_s + noise)

    def changes(self, ranks: Ranks) -> Changes:
        """By how much :meth:`log_mass` differs between a drawn partition and its neighbors."""
        return assignment_probability_changes(self.log_s, ranks)

    def ordering_changes(self, ranks: Ranks) -> Changes:
        """By how much :meth:`log_best_ordering` differs likewise."""
        return best_ordering_changes(self.log_s, ranks)

    def flow(self, ranks: Ranks, changes: Changes) -> Tensor:
        """Zeros, with the gradient of the mean of a function for the scores.

        Args:
            ranks: Those of a draw.
            changes: By how much the function differs between the draw and its neighbors.
        """
        log_s = self.log_s
        ranked = log_s.detach().double().expand(ranks.element.shape).gather(-1, ranks.element)
        slope = unsort(exchange_flow(changes.up, changes.down, ranks, ranked), ranks.element)
        return (slope * (log_s - log_s.detach())).sum(-1)
