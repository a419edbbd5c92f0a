# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Gibbs moves of a partition: of one element, and of the members of two subsets."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pyro_drpm.ops.gibbs.arrivals import Arrivals
from pyro_drpm.ops.gibbs.boundaries import move_at_boundary, swap_at_boundary
from pyro_drpm.ops.gibbs.size_factors import SizeFactors

__all__ = ["Sweep"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Rest = Callable[[Integers], float]

# Members of two subsets that are divided anew at once, which takes the square of their number.
_BLOCK = 64
# Impossible, but not so that what is as impossible could not be compared.
_NEVER = -1e30


class Sweep:
    r"""A partition, and moves that leave its posterior as it is.

    .. math:: p(y | x) \propto p(y) \, e^{h(y)} \prod_i e^{\ell_{i y_i}}

    Args:
        rng: Source of randomness.
        labels: The subset of each element, shape ``(n,)``; changed in place.
        log_likelihood: The terms :math:`\ell`, shape ``(n, K)``.
        sizes: The law of the sizes, with the number of assignments where ``log_s`` is none.
        log_s: Log-scores for every subset, shape ``(K, n)``; none where all are equal.
        rest: The term :math:`h`, if there is one.
    """

    _last: int  # the last subset that is not empty
    _full: float  # log-probability that its members come before its time, while elements move

    def __init__(
        self,
        rng: np.random.Generator,
        labels: Integers,
        log_likelihood: Floats,
        sizes: SizeFactors,
        log_s: Floats | None,
        rest: Rest | None = None,
    ) -> None:
        self.labels = labels
        self._rng, self._sizes, self._log_s, self._rest = rng, sizes, log_s, rest
        self._log_likelihood = np.maximum(log_likelihood, _NEVER)
        self._counts = np.bincount(labels, minlength=log_likelihood.shape[1])
        self._gains = sizes.gains(self._counts)
        self._arrivals = None if log_s is None else Arrivals(rng, log_s, labels)
        self._last = self._last_below(len(self._counts))

    def run(self) -> Integers:
        """All moves that help, and the labels after them."""
        self.move_elements()
        self.swap_elements()
        if self._sizes.are_bounded:
            self.divide_pairs()
        if self._log_s is not None and len(self._log_s) > 1:
            for _ in range(2):
                move_at_boundary(self._rng, self.labels, self._log_s, self._log_other)
            if self._sizes.are_bounded:
                swap_at_boundary(self._rng, self.labels, self._log_s, self._log_other)
        return self.labels

    def _log_other(self, labels: Integers) -> Floats:
        """Log-probabilities of labels but for their assignment, ``(m,)`` for ``(m, n)``."""
        n, num_subsets = self._log_likelihood.shape
        counts = np.stack([np.bincount(row, minlength=num_subsets) for row in labels])
        total = self._sizes.log_mass(counts) + self._log_likelihood[np.arange(n), labels].sum(1)
        if self._rest is not None:
            total = total + np.array([self._log_rest(row) for row in labels])
        return total

    def move_elements(self) -> None:
        """Draw the subset of each element in turn, given those of all others."""
        noise = self._rng.gumbel(size=self._log_likelihood.shape) + self._log_likelihood
        weights, last = self._with_arrivals(noise), self._last
        self._full = self._log_full(last)
        for i, k in enumerate(self.labels.tolist()):
            alone = self._counts[k] == 1
            if alone and k < self._last and self._sizes.empty_last:
                continue  # the subset may not become empty
            if alone and k == self._last:
                without = self._last_below(k)
                scores = self._row(noise, i, without)
            else:
                without, scores = self._last, weights[i]
            new = self._choose(i, k, without, scores)
            if new != k:
                self._move(i, k, new)
                if self._last != last:
                    weights, last = self._with_arrivals(noise), self._last

    def _with_arrivals(self, noise: Floats) -> Floats:
        if self._arrivals is None:
            return noise
        return noise + self._arrivals.log_weights(self._last)

    def _row(self, noise: Floats, i: int, without: int) -> Floats:
        if self._arrivals is None:
            return noise[i]
        return noise[i] + self._arrivals.log_weights(without, slice(i, i + 1))[0]

    def _choose(self, i: int, k: int, without: int, scores: Floats) -> int:
        total = scores + self._gains_without(k)
        if self._arrivals is not None and 0 <= without < len(total) - 1:
            total[without + 1 :] += self._log_full_without(i, k, without)
        if self._sizes.empty_last:
            total[without + 2 :] = -np.inf
        if self._rest is not None:
            self._add_rest(total, i, k)
        return int(total.argmax())

    def _gains_without(self, k: int) -> Floats:
        """Log-factors of one element more in each subset, if there is one less in one of them."""
        if self._sizes.openings is not None and self._counts[k] == 1:
            counts = self._counts.copy()
            counts[k] = 0
            return self._sizes.gains(counts)
        gains = self._gains.copy()
        gains[k] = self._sizes.steps[k, self._counts[k] - 1]
        return gains

    def _log_full_without(self, i: int, k: int, without: int) -> float:
        """Log-probability that all members of a subset but one element come before its time."""
        assert self._arrivals is not None  # else no subset has a time
        if without != self._last:
            return self._log_full(without)
        return self._full - (float(self._arrivals.log_member(i, k)) if k == without else 0.0)

    def _log_full(self, k: int) -> float:
        if self._arrivals is None or k >= len(self._counts) - 1:
            return 0.0
        return float(self._arrivals.log_member(np.flatnonzero(self.labels == k), k).sum())

    def _add_rest(self, total: Floats, i: int, k: int) -> None:
        possible = np.flatnonzero(total > -np.inf)
        if len(possible) > 1:
            for candidate in possible:
                self.labels[i] = candidate
                total[candidate] += self._log_rest(self.labels)
            self.labels[i] = k

    def _move(self, i: int, k: int, new: int) -> None:
        self.labels[i] = new
        self._recount(k, -1)
        self._recount(new, 1)
        before = self._last
        self._last = max(new, before if self._counts[before] else self._last_below(before))
        if self._arrivals is None:
            return
        if self._last != before:
            self._arrivals.moved(i, before, self._last)
            self._full = self._log_full(self._last)
        elif self._last < len(self._counts) - 1 and self._last in (k, new):
            change = self._arrivals.log_member(i, self._last)
            self._full += float(change if new == self._last else -change)

    def _recount(self, k: int, change: int) -> None:
        self._counts[k] += change
        if self._sizes.openings is not None and self._counts[k] <= 1:
            self._gains = self._sizes.gains(self._counts)  # of all empty subsets
            return
        count = min(self._counts[k], self._sizes.steps.shape[1] - 1)
        self._gains[k] = self._sizes.steps[k, count]

    def _last_below(self, k: int) -> int:
        """The last subset before ``k`` that is not empty; -1 if there is none."""
        some = np.flatnonzero(self._counts[:k])
        return int(some[-1]) if len(some) else -1

    def swap_elements(self) -> None:
        """Propose swaps of random pairs of elements, half as many as there are elements.

        Given the times they do not depend on each other.
        """
        pairs = self._rng.permutation(len(self.labels))[: len(self.labels) // 2 * 2].reshape(2, -1)
        later = self.labels[pairs].argsort(0)
        i, j = np.take_along_axis(pairs, later, 0)
        a, b = self.labels[i], self.labels[j]
        weights = self._log_likelihood
        change = np.zeros(len(i))
        if self._arrivals is not None:
            weights = weights + self._arrivals.log_free_weights(self._last)
            change += self._arrivals.log_swaps(i, j, a, b)
        change += weights[i, b] + weights[j, a] - weights[i, a] - weights[j, b]
        accepted = (a != b) & (-self._rng.exponential(size=len(i)) < change)
        i, j, a, b = (x[accepted] for x in (i, j, a, b))
        if self._rest is not None:
            kept = self._kept_swaps(i, j, a, b)
            i, j, a, b = (x[kept] for x in (i, j, a, b))
        self.labels[i], self.labels[j] = b, a
        if self._arrivals is not None:
            self._arrivals.swapped(i, j, a, b)

    def _kept_swaps(self, i: Integers, j: Integers, a: Integers, b: Integers) -> NDArray[np.bool_]:
        """Which swaps the rest of the likelihood accepts as well, one after the other."""
        labels, kept = self.labels.copy(), np.zeros(len(i), bool)
        current = self._log_rest(labels) if len(i) else 0.0
        for at in range(len(i)):
            labels[i[at]], labels[j[at]] = b[at], a[at]
            proposed = self._log_rest(labels)
            kept[at] = -self._rng.exponential() < proposed - current
            if kept[at]:
                current = proposed
            else:
                labels[i[at]], labels[j[at]] = a[at], b[at]
        return kept

    def _log_rest(self, labels: Integers) -> float:
        assert self._rest is not None
        return max(self._rest(labels), _NEVER)

    def divide_pairs(self) -> None:
        """Divide the members of subsets anew, two subsets and at most 64 members at a time.

        The division is exact, given the others. It exchanges members where sizes are fixed or
        bounded and no element can move alone, and moves many at a time. With auxiliary times, or
        where empty subsets come last, the last subset that is not empty stays the last.
        """
        weights = self._with_arrivals(self._log_likelihood)
        bound = self._arrivals is not None or self._sizes.empty_last
        num_subsets = self._last + 1 if bound else len(self._counts)
        order = self._rng.permutation(num_subsets)
        by_subset = np.split(np.argsort(self.labels, kind="stable"), self._counts.cumsum()[:-1])
        block = _BLOCK if self._rest is None else 2
        for a, b in zip(order[::2].tolist(), order[1::2].tolist(), strict=False):
            members = self._rng.permutation(np.concatenate([by_subset[a], by_subset[b]]))
            for start in range(0, len(members), block):
                self._divide(members[start : start + block], a, b, weights)
        self._last = self._last_below(len(self._counts))

    def _divide(self, members: Integers, a: int, b: int, weights: Floats) -> None:
        before = self.labels[members]
        table = _count_table(weights[members, a], weights[members, b])
        x = np.arange(len(members) + 1)
        in_a = self._counts[a] - (before == a).sum() + x[::-1]
        in_b = self._counts[b] - (before == b).sum() + x
        log_p = table[-1] + self._sizes.of_pair(a, b, in_a, in_b)
        if self._sizes.empty_last:
            log_p[(in_a == 0) | (in_b == 0)] = -np.inf
        number = int((log_p + self._rng.gumbel(size=len(x))).argmax())
        chosen = _draw_members(self._rng, table, weights[members, b], number)
        after = np.where(chosen, b, a)
        if self._rest is not None and not self._accepts(members, before, after):
            return
        self.labels[members] = after
        self._recount(a, int((after == a).sum() - (before == a).sum()))
        self._recount(b, int((after == b).sum() - (before == b).sum()))

    def _accepts(self, members: Integers, before: Integers, after: Integers) -> bool:
        if (before == after).all():
            return True
        old = self._log_rest(self.labels)
        self.labels[members] = after
        new = self._log_rest(self.labels)
        self.labels[members] = before
        return bool(-self._rng.exponential() < new - old)


def _count_table(log_a: Floats, log_b: Floats) -> Floats:
    """Log-weights of the first members with a given number of them in the second of two subsets.

    Args:
        log_a: Log-weights of the members in the first, shape ``(m,)``.
        log_b: In the second, likewise.

    Returns:
        Shape ``(m + 1, m + 1)``, the number of members first.
    """
    m = len(log_a)
    table = np.full((m + 1, m + 1), -np.inf)
    table[0, 0] = 0.0
    for j in range(m):
        table[j + 1, : j + 1] = table[j, : j + 1] + log_a[j]
        moved = table[j, : j + 1] + log_b[j]
        np.logaddexp(table[j + 1, 1 : j + 2], moved, out=table[j + 1, 1 : j + 2])
    return table


def _draw_members(
    rng: np.random.Generator, table: Floats, log_b: Floats, number: int
) -> NDArray[np.bool_]:
    """Who is in the second of two subsets, given how many."""
    m = len(log_b)
    log_uniform = -rng.exponential(size=m)
    chosen = np.zeros(m, bool)
    for j in range(m - 1, -1, -1):
        if number == 0:
            break
        if log_uniform[j] < table[j, number - 1] + log_b[j] - table[j + 1, number]:
            chosen[j] = True
            number -= 1
    return chosen
