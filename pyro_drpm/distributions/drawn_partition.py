# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Draws of partitions, and their gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pyro_drpm.distributions.relaxed_partition import RelaxedPartition
from pyro_drpm.distributions.subset_scores import SubsetScores
from pyro_drpm.ops.assignment.changes import Changes
from pyro_drpm.ops.assignment.drawn_partition import by_element, drawn_partition
from pyro_drpm.ops.assignment.ranks import Ranks
from pyro_drpm.ops.assignment.stage_flow import staged_partition
from pyro_drpm.types import Gradient

__all__ = ["Draw", "DrawnPartition"]


class Draw(NamedTuple):
    """A sample of a :class:`DRPM`, and what it was drawn from.

    Attributes:
        value: The partition matrix with gradients, as :meth:`DRPM.rsample` gives it.
        ranks: Its sizes and its elements in the order of their perturbed scores; none for a
            relaxed partition.
    """

    value: Tensor
    ranks: Ranks | None


class DrawnPartition(RelaxedPartition):
    """What a :class:`~pyro_drpm.DRPM` draws.

    Attributes:
        gradient: Which gradients draws have.
    """

    gradient: Gradient

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Partitions with gradients, shape ``(*sample, *batch, K, n)``."""
        return self.draw(sample_shape).value

    def draw(self, sample_shape: Sequence[int] = ()) -> Draw:
        """The same, and what :meth:`flow` needs to know of the draw."""
        if self.hard and self.gradient == "flow":
            return self._drawn(sample_shape)
        shape = torch.Size(sample_shape) + self.batch_shape
        size_noise, ordering_noise = self._noise(shape)
        counts, scores = self._perturbed(size_noise, ordering_noise)
        value = self._relaxed(counts, size_noise, scores)
        return Draw(value, Ranks.of(counts, scores.detach()) if self.hard else None)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Partitions without gradients, always 0 and 1, shape ``(*sample, *batch, K, n)``."""
        with torch.no_grad():
            # Detached, for torch.jit.trace records no torch.no_grad().
            return self._drawn(sample_shape).value.detach()

    def _drawn(self, sample_shape: Sequence[int]) -> Draw:
        """A draw with the gradients of the flow."""
        counts = self.sizes.sample_counts(sample_shape)
        if isinstance(self._assignment, SubsetScores):
            return Draw(self._staged_value(self._assignment, counts), None)
        ranks = self._ranked.draw_ranks(counts)
        return Draw(self._value(ranks), ranks)

    def assignment_changes(self, ranks: Ranks) -> Changes:
        """By how much ``log p(Y | n_0, ..., n_{K-1})`` differs between a draw and its neighbors.

        Args:
            ranks: Those of a draw, which may be of another distribution.
        """
        return self._ranked.changes(ranks)

    def ordering_changes(self, ranks: Ranks) -> Changes:
        """By how much ``log p(pi_Y)``, see :meth:`lower_bound_parts`, differs likewise."""
        return self._ranked.ordering_changes(ranks)

    def _value(self, ranks: Ranks) -> Tensor:
        """The partition of a draw, with gradients for sizes and scores."""
        log_s = self._ranked.log_s.expand(ranks.element.shape)
        sizes, counts = self._sizes, ranks.counts
        if sizes.moves_by_one or not torch.is_grad_enabled():
            return drawn_partition(log_s, sizes.boundary_moves(counts), ranks)
        moves = by_element(sizes.indicator_moves(counts), ranks)
        none = moves.new_zeros(2, *counts.shape[:-1], counts.shape[-1] - 1)
        return drawn_partition(log_s, none, ranks) + moves.to(log_s.dtype)

    def _staged_value(self, assignment: SubsetScores, counts: Tensor) -> Tensor:
        """A partition that is drawn stage by stage, with gradients for the scores alone."""
        if torch.is_grad_enabled() and any(x.requires_grad for x in self._sizes.parameters):
            raise NotImplementedError(
                f"{type(self).__name__}: draws with a score for every subset have no gradient for "
                "the sizes, which require one. Take sample and the score function, as "
                'TracePartition_ELBO(estimator="rloo") does.'
            )
        log_s = assignment.log_s.expand(*counts.shape[:-1], *self.event_shape)
        return staged_partition(log_s, assignment.draw(counts))

    def flow(self, ranks: Ranks, changes: Changes, value: Tensor) -> Tensor:
        """Zeros, with the gradient of the mean of a function of the partition.

        The gradient, for weights and scores, has no bias, whatever the function: it takes its
        differences between a draw and the neighbors that probability flows to.

        Args:
            ranks: Those of a draw from this distribution.
            changes: By how much the function differs between the draw and its neighbors.
            value: The function at the draw, shape ``(*sample, *batch)``, which laws of the sizes
                that do not move by one element need.

        Returns:
            Shape ``(*sample, *batch)``.
        """
        ranks = ranks.expand(changes.up.shape[:-1])
        moves = self._sizes.flow(ranks.counts, changes.moves, value)
        return moves + self._ranked.flow(ranks, changes)
