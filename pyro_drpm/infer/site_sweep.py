# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Gibbs sweeps over the partitions of one site of a model."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pyro_drpm.distributions import DRPM
from pyro_drpm.infer.element_terms import ElementTerms
from pyro_drpm.infer.partition_terms import partition_of
from pyro_drpm.ops.gibbs.size_factors import SizeFactors
from pyro_drpm.ops.gibbs.sweep import Rest, Sweep

__all__ = ["SiteSweep"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class SiteSweep:
    """Sweeps over the partitions of one site, given all other latent sites.

    Args:
        name: Of the site.
        trace: Runs the model at values of latent sites and records it.
        rng: Source of randomness.
    """

    def __init__(
        self, name: str, trace: Callable[[dict[str, Tensor]], Any], rng: np.random.Generator
    ) -> None:
        self._name, self._trace, self._rng = name, trace, rng
        self._values: dict[str, Tensor] = {}
        self._terms: ElementTerms | None = None
        self.moved = 0.0  # part of the elements that the last sweep moved

    def __call__(self, values: dict[str, Tensor]) -> Tensor:
        """A new value of the site.

        Args:
            values: Of all latent sites, this one among them.
        """
        old, self._values = values[self._name], values
        fn = partition_of(self._trace(values).nodes[self._name]["fn"])
        before = old.argmax(-2).cpu().numpy()
        if self._terms is None:
            self._terms = ElementTerms(self._evaluate, before, old.shape[-2], self._rng)
        terms = self._terms
        while True:
            table = terms.table(before)
            after = self._swept(fn, before.copy(), table, terms.rest if terms.whole else None)
            # A site that was taken for another kind makes another sweep necessary.
            if terms.check(before, after, table):
                break
        self.moved = float((before != after).mean())
        return _as_value(after, old)

    def _evaluate(self, labels: Integers, names: Collection[str] | None) -> dict[str, Tensor]:
        """Log-probabilities of other sites, where this one has other labels."""
        value = _as_value(labels, self._values[self._name])
        trace = self._trace({**self._values, self._name: value})
        log_probs = _log_probs(trace, self._name, names)
        for name, log_prob in log_probs.items():
            if log_prob.isnan().any():
                raise ValueError(
                    f"PartitionGibbs: expected the log-probability of site {name!r} to be a number "
                    f"at every value of {self._name!r}, but got nan."
                )
        return log_probs

    def _swept(self, fn: DRPM, labels: Integers, table: Floats, rest: Rest | None) -> Integers:
        """Labels after a sweep over each partition of a batch."""
        log_factors = fn.sizes.log_potential_table()
        log_factors = log_factors.expand(fn.batch_shape + log_factors.shape[-2:])
        counts = torch.arange(log_factors.shape[-1], device=log_factors.device)
        log_orderings = torch.lgamma(counts.double() + 1)
        log_s = _as_numpy(fn.log_subset_s)
        for at in np.ndindex(labels.shape[:-1]):
            # With equal scores all assignments are equally probable, and need no times.
            are_equal = bool((np.ptp(log_s[at][:-1], -1) == 0).all())
            factors = log_factors[at] + log_orderings if are_equal else log_factors[at]
            sizes = SizeFactors.of(_as_numpy(factors), fn.sizes.empty_last)
            one_rest = None if rest is None else _rest_at(rest, labels, at)
            scores = None if are_equal else log_s[at]
            labels[at] = Sweep(self._rng, labels[at], table[at], sizes, scores, one_rest).run()
        return labels


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


def _log_probs(trace: Any, but: str, names: Collection[str] | None) -> dict[str, Tensor]:
    """Log-probabilities of all sites but one, or of those of some names."""

    def is_wanted(name: str, site: Any) -> bool:
        return name != but and (names is None or name in names)

    trace.compute_log_prob(is_wanted)
    return {
        name: site["log_prob"]
        for name, site in trace.nodes.items()
        if site["type"] == "sample" and "log_prob" in site and is_wanted(name, site)
    }
