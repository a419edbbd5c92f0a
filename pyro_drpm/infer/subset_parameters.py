# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Parameters of the subsets of a partition."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pyro_drpm.ops.gibbs.sweep import Integers

__all__ = ["SubsetParameters"]

Params = dict[str, Tensor]


class SubsetParameters:
    """The continuous sites in a plate as large as a partition has subsets.

    Args:
        name: Of the partition's site.
        recorded: The model at any values.

    Attributes:
        dims: Where the subsets are in the log-probabilities of the sites, by name.
    """

    def __init__(self, name: str, recorded: Any) -> None:
        self._name = name
        num_subsets = recorded.nodes[name]["value"].shape[-2]
        self.dims = {
            other: frame.dim
            for other, site in recorded.nodes.items()
            if site["type"] == "sample" and not site["is_observed"] and other != name
            for frame in site["cond_indep_stack"]
            if frame.vectorized and frame.size == num_subsets
        }
        self.event_dims = {other: recorded.nodes[other]["fn"].event_dim for other in self.dims}

    def permuted(self, values: Params, order: Integers) -> Params:
        """Values after subsets took other places, members and parameters together.

        Args:
            values: Of all latent sites.
            order: Which subset is in each place then.
        """
        index = torch.from_numpy(order).to(values[self._name].device)
        dims = {name: dim - self.event_dims[name] for name, dim in self.dims.items()}
        dims[self._name] = -2
        return values | {n: values[n].index_select(dim, index) for n, dim in dims.items()}
