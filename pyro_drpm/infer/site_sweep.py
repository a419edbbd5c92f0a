# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Gibbs sweeps over the partitions of one site of a model."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pyro_drpm.distributions import DRPM
from pyro_drpm.infer.element_terms import ElementTerms
from pyro_drpm.infer.partition_terms import partition_of
from pyro_drpm.infer.subset_parameters import SubsetParameters
from pyro_drpm.ops.gibbs.size_factors import SizeFactors
from pyro_drpm.ops.gibbs.sweep import Rest, Sweep

__all__ = ["SiteSweep"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Params = dict[str, Tensor]


class SiteSweep:
    """Sweeps over the partitions of one site, given all other latent sites.

    Where the law puts the subsets that are not empty first and does not tell them apart, as that of
    a Chinese restaurant, they would open and close at the last place only. If they have parameters
    they are therefore put into a random order, empty ones among the others, a sweep opens and
    closes any of them, and the first places are given out anew after that, to members and
    parameters together. The other sites of the model must not see the order. This is looked at
    after every sweep.

    Args:
        name: Of the site.
        parameters: Those of the subsets.
        trace: Runs the model at values of latent sites and records it.
        rng: Source of randomness.
    """

    def __init__(
        self,
        name: str,
        parameters: SubsetParameters,
        trace: Callable[[Params], Any],
        rng: np.random.Generator,
    ) -> None:
        self._name, self._parameters = name, parameters
        self._trace, self._rng = trace, rng
        self._values: Params = {}
        self._terms: ElementTerms | None = None
        self._in_any_order = bool(parameters.dims)
        self.moved = 0.0  # part of the elements that the last sweep moved

    def __call__(self, values: Params) -> Params:
        """Values of all latent sites after a sweep: a new one of this, subsets in new places."""
        self._values = values
        old = values[self._name]
        before = old.argmax(-2).cpu().numpy()
        if self._terms is None:
            self._terms = ElementTerms(self._evaluate, before, old.shape[-2], self._rng)
        terms = self._terms
        laws = self._laws(partition_of(self._trace(values).nodes[self._name]["fn"]))
        while True:
            table = terms.table(before)
            after = self._swept(laws, before.copy(), table, terms.rest if terms.whole else None)
            # A site that was taken for another kind makes another sweep necessary.
            if terms.check(before, after, table):
                break
        new = values | {self._name: _as_value(after, old)}
        if any(law.sizes.openings is not None for law in laws.values()):
            ordered = self._parameters.permuted(new, self._order(after, old.shape[-2]))
            if not self._are_alike(new, ordered, laws):
                self._in_any_order = False
                return self(values)
            new = ordered
        self.moved = float((before != after).mean())
        return new

    def _evaluate(self, labels: Integers, names: Collection[str] | None) -> dict[str, Tensor]:
        """Log-probabilities of other sites, where this one has other labels."""
        value = _as_value(labels, self._values[self._name])
        return self._log_probs(self._trace({**self._values, self._name: value}), names)

    def _log_probs(self, trace: Any, names: Collection[str] | None = None) -> Params:
        """Log-probabilities of all other sites, or of those of some names."""

        def is_wanted(name: str, site: Any) -> bool:
            return name != self._name and (names is None or name in names)

        trace.compute_log_prob(is_wanted)
        log_probs = {
            name: site["log_prob"]
            for name, site in trace.nodes.items()
            if site["type"] == "sample" and "log_prob" in site and is_wanted(name, site)
        }
        for name, log_prob in log_probs.items():
            if log_prob.isnan().any():
                raise ValueError(
                    f"PartitionGibbs: expected the log-probability of site {name!r} to be a number "
                    f"at every value of {self._name!r}, but got nan."
                )
        return log_probs

    def _laws(self, fn: DRPM) -> _Laws:
        """Those of the partitions of a batch."""
        log_factors = fn.sizes.log_potential_table()
        log_factors = log_factors.expand(fn.batch_shape + log_factors.shape[-2:])
        counts = torch.arange(log_factors.shape[-1], device=log_factors.device)
        log_orderings = torch.lgamma(counts.double() + 1)
        log_s = _as_numpy(fn.log_subset_s)
        laws = {}
        for at in np.ndindex(fn.batch_shape):
            # With equal scores all assignments are equally probable, and need no times.
            are_equal = bool((np.ptp(log_s[at][:-1], -1) == 0).all())
            factors = log_factors[at] + log_orderings if are_equal else log_factors[at]
            sizes = SizeFactors.of(_as_numpy(factors), fn.sizes.empty_last)
            if are_equal and self._in_any_order and not fn.batch_shape:
                sizes = sizes.in_any_order() or sizes
            laws[at] = _Law(sizes, None if are_equal else log_s[at])
        return laws

    def _swept(
        self,
        laws: _Laws,
        labels: Integers,
        table: Floats,
        rest: Rest | None,
    ) -> Integers:
        """Labels after a sweep over each partition of a batch."""
        for at, law in laws.items():
            one_rest = None if rest is None else _rest_at(rest, labels, at)
            sweep = Sweep(self._rng, labels[at], table[at], law.sizes, law.log_s, one_rest)
            labels[at] = sweep.run()
        return labels

    def _order(self, labels: Integers, num_subsets: int) -> Integers:
        """A random order of the subsets, empty ones last."""
        is_empty = np.bincount(labels, minlength=num_subsets) == 0
        order = self._rng.permutation(num_subsets)
        return order[np.argsort(is_empty[order], kind="stable")]

    def _are_alike(self, values: Params, others: Params, laws: _Laws) -> bool:
        """Whether all other sites are as probable at both, and the law of this one is the same."""
        first, second = self._trace(values), self._trace(others)
        log_probs = self._log_probs(second)
        same = self._laws(partition_of(second.nodes[self._name]["fn"]))
        return all(
            np.allclose(law.sizes.log_factors, same[at].sizes.log_factors, rtol=1e-9)
            for at, law in laws.items()
        ) and all(
            _have_one_sum(log_prob, log_probs[name])
            for name, log_prob in self._log_probs(first).items()
        )


class _Law(NamedTuple):
    """The law of a partition.

    Attributes:
        sizes: Of its sizes, with the number of assignments where there are no scores.
        log_s: Log-scores for every subset, shape ``(K, n)``; none where all are equal.
    """

    sizes: SizeFactors
    log_s: Floats | None


_Laws = dict[tuple[int, ...], _Law]


def _have_one_sum(first: Tensor, second: Tensor) -> bool:
    tolerance = torch.finfo(first.dtype).eps ** 0.5 * (1 + float(first.abs().sum()))
    return abs(float(first.sum() - second.sum())) <= tolerance


def _rest_at(rest: Rest, labels: Integers, at: tuple[int, ...]) -> Rest:
    """A function of all labels as one of those of one partition."""

    def evaluate(own: Integers) -> float:
        every = labels.copy()
        every[at] = own
        return rest(every)

    return evaluate


def _as_value(labels: Integers, like: Tensor) -> Tensor:
    index = torch.as_tensor(labels, device=like.device)
    return F.one_hot(index, like.shape[-2]).mT.to(like.dtype)


def _as_numpy(x: Tensor) -> Floats:
    values: Floats = x.detach().double().cpu().numpy()
    return values
