# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

r"""Auxiliary times, given which the law of the assignment is a product over elements.

The log-mass of an assignment has an integral for every subset ``k`` but the last that is not empty,
over the time :math:`t_k` at which the first later element :math:`j_k` arrives, after all members.
With these as auxiliary variables,

.. math::
    p(Y, t, j | n) = \prod_k s_{k j_k} \exp \Big( -t_k \sum_{i \text{ later}} s_{ki} \Big)
    \prod_{i \in k} (1 - e^{-s_{ki} t_k}), \qquad j_k \text{ later than } k.

An element of subset ``k`` has a factor :math:`e^{-s_{li} t_l}` for every earlier subset ``l`` and
:math:`1 - e^{-s_{ki} t_k}` for its own. So a sweep over all elements takes ``O(K n)``.

The last subset that is not empty, and those after it, have no later element and need no time. There
a time has a law of its own, log-normal, which cancels when the time is integrated. An element that
becomes the first in a later subset is the one that arrives.

References:
    Caron, F., Doucet, A.: Efficient Bayesian inference for generalized Bradley-Terry models.
    Journal of Computational and Graphical Statistics 21, 2012 (such times, for orderings).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pyro_drpm.ops.gibbs.log_times import draw_log_times, log1mexp_of_log

__all__ = ["Arrivals"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Arrivals:
    """Times and arriving elements, drawn given a partition.

    Args:
        rng: Source of randomness.
        log_s: Log-scores for every subset, shape ``(K, n)``.
        labels: The subset of each element, shape ``(n,)``.
    """

    def __init__(self, rng: np.random.Generator, log_s: Floats, labels: Integers) -> None:
        num_subsets, n = log_s.shape
        self.labels = labels
        last = int(labels.max())
        log_s = log_s[: num_subsets - 1]
        self._log_s = log_s
        self._log_times, centers = self._unused_times(rng, log_s, n / num_subsets)
        self._arriving = np.full(num_subsets - 1, -1)
        if last > 0:
            self._draw(rng, log_s[:last], last)
        log_x = log_s + self._log_times[:, None]
        with np.errstate(over="ignore"):
            self._later = np.maximum(-np.exp(log_x), -1e300).T
        self._member = log1mexp_of_log(log_x).T
        prior = -0.5 * ((self._log_times - centers) ** 2 + math.log(2 * math.pi))
        self._arrives = self._later + log_x.T - prior

    def _unused_times(
        self, rng: np.random.Generator, log_s: Floats, size: float
    ) -> tuple[Floats, Floats]:
        """Log-times where no element is later, and their means: when a typical subset is full."""
        centers = math.log1p(math.log1p(size)) - log_s.mean(1)
        return centers + rng.standard_normal(len(centers)), centers

    def _draw(self, rng: np.random.Generator, log_s: Floats, last: int) -> None:
        later = self.labels > np.arange(last)[:, None]
        masked = np.where(later, log_s, -np.inf)
        top = masked.max(1, keepdims=True)
        sums = np.exp(masked - top).cumsum(1)
        log_rate = top[:, 0] + np.log(sums[:, -1])
        chosen = rng.random((last, 1)) * sums[:, -1:]
        self._arriving[:last] = (sums <= chosen).sum(1)
        members = np.flatnonzero(self.labels < last)
        own = self.labels[members]
        log_scores = log_s[own, members] - log_rate[own]
        self._log_times[:last] = draw_log_times(rng, log_scores, own, last) - log_rate

    def log_weights(self, last: int, elements: slice = slice(None)) -> Floats:
        """How well elements fit subsets, impossible where they arrive after the subset.

        Where an element would open a subset after the last, the sum of :meth:`log_member` over the
        members of the last is left to the caller.

        Args:
            last: The last subset that is not empty without the element; -1 if all are.
            elements: Which elements.

        Returns:
            Shape ``(n, K)``.
        """
        weights = self.log_free_weights(last, elements)
        start = elements.start or 0
        for k, i in enumerate(self._arriving[: max(last, 0)]):
            if 0 <= i - start < len(weights):
                weights[i - start, : k + 1] = -np.inf
        return weights

    def log_free_weights(self, last: int, elements: slice = slice(None)) -> Floats:
        """The same, whoever arrives."""
        used = max(last, 0)
        steps = [self._later[elements, :used], self._arrives[elements, used:]]
        weights = np.zeros((len(steps[0]), len(self._log_times) + 1))
        np.cumsum(np.concatenate(steps, 1), 1, out=weights[:, 1:])
        weights[:, :used] += self._member[elements, :used]
        return weights

    def log_member(self, elements: int | Integers, k: int) -> Floats:
        """Log-probabilities that elements arrive before a subset's time."""
        return self._member[elements, k]

    def log_swaps(self, i: Integers, j: Integers, a: Integers, b: Integers) -> Floats:
        """Log-factors of swaps in which one element takes the other's place where that arrives.

        Args:
            i: Elements of the earlier subsets, shape ``(m,)``, as all.
            j: Those of the later ones.
            a: The earlier subsets.
            b: The later ones.
        """
        total = np.zeros(len(i))
        for k in np.flatnonzero(self._arriving >= 0):
            total += np.where(
                (self._arriving[k] == j) & (a <= k) & (k < b),
                self._log_s[k, i] - self._log_s[k, j],
                0,
            )
        return total

    def swapped(self, i: Integers, j: Integers, a: Integers, b: Integers) -> None:
        """Note swaps; arguments are those of :meth:`log_swaps`."""
        for k in np.flatnonzero(self._arriving >= 0):
            taken = np.flatnonzero((self._arriving[k] == j) & (a <= k) & (k < b))
            if len(taken):
                self._arriving[k] = i[taken[0]]

    def moved(self, element: int, last_before: int, last: int) -> None:
        """Note that an element opened subsets, in which it is the one that arrives, or left them.

        Args:
            element: Which element.
            last_before: The last subset that was not empty.
            last: The last that is not now.
        """
        self._arriving[last:last_before] = -1
        self._arriving[last_before:last] = element
