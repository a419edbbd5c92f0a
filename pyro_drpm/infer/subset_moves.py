# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Moves of whole subsets with their parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_drpm.infer.subset_parameters import SubsetParameters

__all__ = ["SubsetMoves"]

Params = dict[str, Tensor]


class SubsetMoves:
    """Metropolis moves of subsets and their parameters, which mixtures mix badly without.

    Two moves are proposed. Subsets that are not empty take each other's places, members
    and parameters together: all of them, or two. Where the likelihood does not see this, the law
    of the partition alone decides. And empty subsets draw their parameters from the prior. Both
    let subsets open and close: in a Chinese restaurant only the last can close, and the one that
    opens should have other parameters each time.

    Args:
        name: Of the partition's site.
        parameters: Those of its subsets.
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

    def __call__(self, values: Params) -> Params:
        """Values of all latent sites after both proposals."""
        if not self._parameters.dims:
            return values
        trace = self._trace(values)
        values, trace = self._accepted(trace, values, *self._permuted(values))
        if (self._sizes(values) == 0).any():
            values, _ = self._accepted(trace, values, *self._refreshed(trace, values))
        return values

    def _accepted(
        self, trace: Any, values: Params, proposed: Params, log_ratio: Tensor | float
    ) -> tuple[Params, Any]:
        new = self._trace(proposed)
        gain = new.log_prob_sum() - trace.log_prob_sum() + log_ratio
        return (proposed, new) if -self._rng.exponential() < float(gain) else (values, trace)

    def _permuted(self, values: Params) -> tuple[Params, float]:
        some = np.flatnonzero(self._sizes(values).cpu().numpy())
        if self._rng.random() < 0.5:
            some = self._rng.permutation(some)[:2]
        order = np.arange(values[self._name].shape[-2])
        order[some] = self._rng.permutation(some)
        return self._parameters.permuted(values, order), 0.0

    def _refreshed(self, trace: Any, values: Params) -> tuple[Params, Tensor]:
        """New parameters of empty subsets, and log-densities of old ones less those of new."""
        is_empty = self._sizes(values) == 0
        dims, event_dims = self._parameters.dims, self._parameters.event_dims
        others = {name: x for name, x in values.items() if name not in dims}
        drawn = self._trace(others)
        log_ratio, proposed = torch.zeros((), dtype=torch.float64), dict(values)
        for name, dim in dims.items():
            mask = is_empty.view(-1, *(1,) * (-1 - dim))
            new, event_dim = drawn.nodes[name]["value"], event_dims[name]
            proposed[name] = torch.where(
                mask.view(*mask.shape, *(1,) * event_dim), new, values[name]
            )
            before, after = (_log_density(x.nodes[name]) for x in (trace, drawn))
            log_ratio = log_ratio + torch.where(mask, before - after, 0.0).double().sum().cpu()
        return proposed, log_ratio

    def _sizes(self, values: Params) -> Tensor:
        """How many elements each subset has, in all partitions of a batch together."""
        Y = values[self._name]
        return Y.reshape(-1, *Y.shape[-2:]).sum((0, -1))


def _log_density(site: Any) -> Tensor:
    log_prob: Tensor = site["fn"].log_prob(site["value"])
    return log_prob
