# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""What the law of the sizes says about one element more."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["SizeFactors"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_ROUND_OFF = 1e-8  # of factors of a million elements


class SizeFactors(NamedTuple):
    """A law of the sizes, up to its normaliser.

    Attributes:
        log_factors: Of counts from 0 to ``n``, shape ``(K, n + 1)``.
        steps: By how much they grow with one element more, shape ``(K, n)``; infinite where a
            count becomes possible.
        empty_last: Whether subsets are empty if and only if nothing is left over for them.
        openings: If subsets may be in any order, by how much the mass grows with the first element
            of one subset more, shape ``(K + 1,)``, by the number of those that have elements.
    """

    log_factors: Floats
    steps: Floats
    empty_last: bool
    openings: Floats | None = None

    @staticmethod
    def of(log_factors: Floats, empty_last: bool) -> SizeFactors:
        """From the logarithms of the factors."""
        with np.errstate(invalid="ignore"):
            steps = np.diff(log_factors)
        return SizeFactors(log_factors, np.where(np.isnan(steps), -np.inf, steps), empty_last)

    def in_any_order(self) -> SizeFactors | None:
        """The law after a random permutation of the subsets, empty ones among the others.

        Returns:
            None if the law is not of this kind: subsets that are not empty must come first, be
            alike and have no bounds.
        """
        others = self.steps[:, 1:]
        are_alike = np.allclose(others, others[:1], rtol=_ROUND_OFF, atol=_ROUND_OFF)
        if not self.empty_last or self.are_bounded or not are_alike:
            return None
        # One partition with k subsets is k! labelled ones before, and K! / (K - k)! after.
        num_subsets = len(self.steps)
        filled = np.arange(num_subsets)
        openings = self.steps[:, 0] + np.log((filled + 1) / (num_subsets - filled))
        return self._replace(empty_last=False, openings=np.append(openings, -np.inf))

    @property
    def are_bounded(self) -> bool:
        """Whether some counts are impossible."""
        return bool(np.isneginf(self.log_factors).any())

    def gains(self, counts: Integers) -> Floats:
        """Log-factors of one element more in each subset, shape ``(K,)``."""
        n = self.steps.shape[1]
        gains = self.steps[np.arange(len(counts)), np.minimum(counts, n - 1)]
        if self.openings is None:
            return gains
        return np.where(counts == 0, self.openings[(counts > 0).sum()], gains)

    def log_mass(self, counts: Integers) -> Floats:
        """Sums of the log-factors, shape ``(m,)`` for counts of shape ``(m, K)``."""
        total = self.log_factors[np.arange(counts.shape[1]), counts].sum(1)
        has_gap = self.empty_last & ((counts[:, 1:] > 0) & (counts[:, :-1] == 0)).any(1)
        return np.where(has_gap, -np.inf, total)

    def of_pair(self, a: int, b: int, in_a: Integers, in_b: Integers) -> Floats:
        """Log-factors of the counts of two subsets together."""
        return self.log_factors[a, in_a] + self.log_factors[b, in_b]
