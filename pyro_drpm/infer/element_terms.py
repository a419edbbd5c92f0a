# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""What the other sites of a model say about a partition: element by element, or as a whole."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["ElementTerms"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
# Log-probabilities of sites by name, given labels of shape (*batch, n).
Evaluate = Callable[[Integers, Collection[str] | None], dict[str, Tensor]]

_NUM_TESTS = 3


class ElementTerms:
    r"""Sorts the log-probabilities of sites by how they depend on a partition.

    - A site is constant if they do not depend on it.
    - A site is elementwise if, summed over all dims but one of size ``n`` and the batch dims of the
      partition, the term of element ``i`` depends on the subset of ``i`` alone. Evaluations at
      ``K`` partitions, in which each element is in each subset once, then say all.
    - Others are evaluated as a whole.

    The sorting is tried out at random partitions first, and again by :meth:`check` at partitions
    that are drawn later.

    Args:
        evaluate: Log-probabilities of sites, all if no names are given; other latent sites may have
            other values at every call of a method.
        labels: Any labels, shape ``(*batch, n)``.
        num_subsets: The number ``K``.
        rng: Source of randomness.
    """

    def __init__(
        self,
        evaluate: Evaluate,
        labels: Integers,
        num_subsets: int,
        rng: np.random.Generator,
    ) -> None:
        self._evaluate, self._num_subsets = evaluate, num_subsets
        self.constant: set[str] = set()
        self.elementwise: dict[str, _Reading] = {}
        self.whole: set[str] = set()
        self._sort(labels, rng)

    def _sort(self, labels: Integers, rng: np.random.Generator) -> None:
        here = self._evaluate(labels, None)
        self._tolerance = max([torch.finfo(x.dtype).eps ** 0.5 for x in here.values()], default=0.0)
        try:
            shifted = [
                self._evaluate(self._shift(labels, r), None) for r in range(self._num_subsets)
            ]
            tests = [rng.integers(self._num_subsets, size=labels.shape) for _ in range(_NUM_TESTS)]
            tested = [(test, self._evaluate(test, None)) for test in tests]
        except (RuntimeError, ValueError, IndexError):  # of partitions that the law excludes, say
            self.whole = set(here)
            return
        for name, value in here.items():
            others = [values[name] for values in (*shifted, *(x for _, x in tested))]
            if all(self._are_close(value, other) for other in others):
                self.constant.add(name)
                continue
            for reading in _readings(value.shape, labels.shape):
                columns = [reading(values[name]) for values in shifted]
                table = self._table(labels, columns)
                if all(self._fits(table, test, reading(x[name])) for test, x in tested):
                    self.elementwise[name] = reading
                    break
            else:
                self.whole.add(name)

    def _shift(self, labels: Integers, by: int) -> Integers:
        return (labels + by) % self._num_subsets

    def _table(self, labels: Integers, columns: list[Floats]) -> Floats:
        table = np.empty((*labels.shape, self._num_subsets))
        for by, column in zip(range(self._num_subsets), columns, strict=True):
            np.put_along_axis(table, self._shift(labels, by)[..., None], column[..., None], -1)
        return table

    def table(self, labels: Integers) -> Floats:
        """Terms of each element in each subset, shape ``(*batch, n, K)``."""
        if not self.elementwise:
            return np.zeros((*labels.shape, self._num_subsets))
        columns = []
        for by in range(self._num_subsets):
            values = self._evaluate(self._shift(labels, by), self.elementwise)
            columns.append(self._of_elements(values))
        return self._table(labels, columns)

    def _of_elements(self, values: dict[str, Tensor]) -> Floats:
        terms = [read(values[name]) for name, read in self.elementwise.items()]
        return np.sum(terms, axis=0)

    def rest(self, labels: Integers) -> float:
        """The sum of the sites that are evaluated as a whole."""
        return sum(float(x.sum()) for x in self._evaluate(labels, self.whole).values())

    def check(self, before: Integers, after: Integers, table: Floats) -> bool:
        """Whether sites are as they were sorted at two partitions; sorts those anew that are not.

        Args:
            before: Labels at which the table was made.
            after: Labels that were drawn then.
            table: That of :meth:`table`.
        """
        old = self._evaluate(before, self.constant)
        new = self._evaluate(after, None)
        changed = {name for name in self.constant if not self._are_close(old[name], new[name])}
        if self.elementwise and not self._fits(table, after, self._of_elements(new)):
            changed |= set(self.elementwise)
            self.elementwise = {}
        self.constant -= changed
        self.whole |= changed
        return not changed

    def _are_close(self, first: Tensor, second: Tensor) -> bool:
        tolerance = self._tolerance
        return first.shape == second.shape and torch.allclose(
            first, second, rtol=tolerance, atol=tolerance, equal_nan=True
        )

    def _fits(self, table: Floats, labels: Integers, terms: Floats) -> bool:
        expected = np.take_along_axis(table, labels[..., None], -1)[..., 0]
        tolerance = self._tolerance
        return np.allclose(terms, expected, rtol=tolerance, atol=tolerance, equal_nan=True)


class _Reading(NamedTuple):
    """How to read terms of elements from log-probabilities.

    Attributes:
        kept: The dims of batch and elements, counted from the right, the elements' last.
        shape: That of the labels.
    """

    kept: tuple[int, ...]
    shape: tuple[int, ...]

    def __call__(self, log_prob: Tensor) -> Floats:
        ndim = log_prob.dim()
        kept = [ndim + dim for dim in self.kept]
        others = [dim for dim in range(ndim) if dim not in kept]
        moved = log_prob.permute(*others, *kept).double()
        summed = moved.reshape(-1, *moved.shape[len(others) :]).sum(0)
        values: Floats = summed.reshape(self.shape).cpu().numpy()
        return values


def _readings(shape: torch.Size, labels: tuple[int, ...]) -> Iterator[_Reading]:
    """All dims that may be those of the elements, beside the batch dims of the partition."""
    n, batch = labels[-1], labels[:-1]
    batch_dims = [dim - len(batch) for dim, size in enumerate(batch) if size > 1]
    if any(len(shape) < -dim or shape[dim] != batch[dim] for dim in batch_dims):
        return
    for dim in range(-1, -len(shape) - 1, -1):
        if shape[dim] == n and dim not in batch_dims:
            yield _Reading((*batch_dims, dim), labels)
