# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Subsets that choose their elements, each by scores of its own."""

from __future__ import annotations

from torch import Tensor

from pyro_drpm.distributions.assignment import Assignment
from pyro_drpm.ops.assignment.probability import log_subset_assignment_probability
from pyro_drpm.ops.assignment.stage_flow import StagedDraw
from pyro_drpm.ops.assignment.stages import draw_by_stages, log_best_ordering_by_stages

__all__ = ["SubsetScores"]


class SubsetScores(Assignment):
    """A score for every subset and element: each subset in turn takes what it has drawn.

    Args:
        log_s: Log-scores, shape ``(*batch, K, n)``; the last row has no effect.
    """

    def __init__(self, log_s: Tensor) -> None:
        super().__init__(log_s, log_s.shape[:-2])

    def log_mass(self, Y: Tensor, hard: bool) -> Tensor:
        return log_subset_assignment_probability(self.log_s, Y, hard=hard)

    def log_best_ordering(self, Y: Tensor) -> Tensor:
        return log_best_ordering_by_stages(self.log_s, Y)

    def log_highest_ordering(self) -> Tensor:
        raise NotImplementedError(
            'DRPM: the bound "lemma" needs one score per element; with a score for every subset '
            'and element take "tight" or "exact".'
        )

    def draw(self, counts: Tensor) -> StagedDraw:
        """Draw the elements of subsets with given sizes, shape ``(*sample, *batch, K)``."""
        return draw_by_stages(self.log_s, counts)
