# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""A model given its partitions."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyro_drpm.infer.partition_terms import partition_of

__all__ = ["GivenPartitions"]


class GivenPartitions(Messenger):
    """Conditions partition sites on values that may be changed.

    The log-mass of a partition is kept as long as neither its value nor its law changes, so that
    laws without latent parameters cost a sampler of continuous sites nothing.

    Attributes:
        partitions: A value for each site, for others to replace.
    """

    def __init__(self, partitions: dict[str, Tensor]) -> None:
        super().__init__()
        self.partitions = partitions
        self._kept: dict[str, tuple[list[Tensor], Tensor]] = {}

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] not in self.partitions or msg["is_observed"]:
            return
        value = self.partitions[msg["name"]]
        msg["value"], msg["is_observed"], msg["done"] = value, True, True
        of_law = _tensors_of(msg["fn"])
        if any(x.requires_grad for x in of_law):
            return
        kept = self._kept.get(msg["name"])
        if kept is None or not _are_equal(kept[0], [value, *of_law]):
            with torch.no_grad():
                kept = [value, *of_law], msg["fn"].log_prob(value)
            self._kept[msg["name"]] = kept
        msg["fn"] = dist.Delta(value, kept[1], event_dim=msg["fn"].event_dim)


def _tensors_of(fn: Any) -> list[Tensor]:
    """All that the law of a partition depends on."""
    partition = partition_of(fn)
    law = partition.sizes
    return [law.minimum, law.maximum, *law.parameters, partition.log_subset_s]


def _are_equal(first: list[Tensor], second: list[Tensor]) -> bool:
    return len(first) == len(second) and all(map(torch.equal, first, second))
