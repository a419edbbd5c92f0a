# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Swaps of two subsets, members and parameters together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["SubsetSwaps"]

Params = dict[str, Tensor]


class SubsetSwaps:
    """Proposes that two subsets of a partition trade their members and their parameters.

    Parameters are the continuous sites in a plate as large as the partition has subsets. In a
    mixture the likelihood does not see such a swap, so that only the law of the partition decides.
    Sweeps alone would have to move all members one by one: a subset in the middle of a Chinese
    restaurant could never close, for the empty ones come last.

    Args:
        name: Of the partition's site.
        trace: Runs the model at values of latent sites and records it.
        recorded: The model at first values.
        rng: Source of randomness.
    """

    def __init__(
        self,
        name: str,
        trace: Callable[[Params], Any],
        recorded: Any,
        rng: np.random.Generator,
    ) -> None:
        self._name, self._trace, self._rng = name, trace, rng
        self._num_subsets = recorded.nodes[name]["value"].shape[-2]
        self._dims = {
            other: frame.dim - site["fn"].event_dim
            for other, site in recorded.nodes.items()
            if site["type"] == "sample" and not site["is_observed"] and other != name
            for frame in site["cond_indep_stack"]
            if frame.vectorized and frame.size == self._num_subsets
        }

    def __call__(self, values: Params, unconstrained: Params) -> tuple[Params, Params]:
        """Values of all latent sites, and continuous ones in unconstrained space, after a proposal.

        Args:
            values: Of all latent sites.
            unconstrained: Continuous ones in unconstrained space, which permutations leave as
                dense as they were.
        """
        if self._num_subsets < 2 or not self._dims:
            return values, unconstrained
        order = torch.arange(self._num_subsets)
        a, b = self._rng.choice(self._num_subsets, 2, replace=False).tolist()
        order[a], order[b] = b, a

        def swapped(params: Params) -> Params:
            dims = {name: dim for name, dim in self._dims.items() if name in params}
            if self._name in params:
                dims[self._name] = -2
            new = {
                name: params[name].index_select(dim, order.to(params[name].device))
                for name, dim in dims.items()
            }
            return params | new

        proposed = swapped(values)
        gain = self._trace(proposed).log_prob_sum() - self._trace(values).log_prob_sum()
        if -self._rng.exponential() < float(gain):
            return proposed, swapped(unconstrained)
        return values, unconstrained
