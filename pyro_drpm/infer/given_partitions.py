# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""A model given its partitions."""

from __future__ import annotations

from typing import Any, NamedTuple

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
        self._kept: dict[str, tuple[_Law, Tensor, Tensor]] = {}

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] not in self.partitions or msg["is_observed"]:
            return
        value = self.partitions[msg["name"]]
        msg["value"], msg["is_observed"], msg["done"] = value, True, True
        law = _Law.of(msg["fn"])
        if any(x.requires_grad for x in law.tensors):
            return
        kept = self._kept.get(msg["name"])
        if kept is None or not (kept[0].equals(law) and torch.equal(kept[1], value)):
            with torch.no_grad():
                kept = law, value, msg["fn"].log_prob(value)
            self._kept[msg["name"]] = kept
        msg["fn"] = dist.Delta(value, kept[2], event_dim=msg["fn"].event_dim)


class _Law(NamedTuple):
    """All that the law of a partition depends on.

    Attributes:
        tensors: Parameters and bounds.
        others: The kind of law of the sizes, and its numbers.
    """

    tensors: list[Tensor]
    others: tuple[Any, ...]

    @staticmethod
    def of(fn: Any) -> _Law:
        partition = partition_of(fn)
        law = partition.sizes
        numbers = {name: x for name, x in vars(law).items() if isinstance(x, int | float)}
        tensors = [law.minimum, law.maximum, *law.parameters, partition.log_subset_s]
        return _Law(tensors, (type(law), numbers))

    def equals(self, other: _Law) -> bool:
        """Whether another is the same law."""
        same = self.others == other.others and len(self.tensors) == len(other.tensors)
        return same and all(map(torch.equal, self.tensors, other.tensors))
