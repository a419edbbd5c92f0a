# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

r"""By how much a function changes between a drawn partition and its neighbors.

The neighbors are those that probability flows to when a parameter of the law changes
(:mod:`pyro_drpm.ops.assignment.exchanges`, :mod:`pyro_drpm.ops.sizes.boundary_moves`): an element
may change places with the one at a boundary of its subset, and boundaries may move by one. A
gradient of such true differences has no bias, whatever the function; derivatives in their place are
exact for quadratic functions only.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pyro_drpm.ops.assignment.ranks import Ranks

__all__ = ["Changes"]


class Changes(NamedTuple):
    """Changes of a function of the partition, whose part for one subset depends on two boundaries.

    Attributes:
        up: When the element of a rank changes places with the last of the preceding subset that is
            not empty; 0 where there is none. Shape ``(*batch, n)``.
        down: When it changes places with the first of the following one, likewise.
        moves: Of the part of each subset when one element is moved across its boundaries, upwards
            and downwards: when the boundary behind it moves alone, when the one before it moves
            alone, and when both move. Shape ``(2, 3, *batch, K)``. What must not happen (a
            negative size) has any finite value.
    """

    up: Tensor
    down: Tensor
    moves: Tensor

    @staticmethod
    def nothing(log_s: Tensor, ranks: Ranks) -> Changes:
        """Of a function that is the same for all partitions."""
        shape = torch.broadcast_shapes(log_s.shape, ranks.element.shape)
        none = log_s.new_zeros(shape, dtype=torch.float64)
        moves = none.new_zeros(2, 3, *shape[:-1], ranks.counts.shape[-1])
        return Changes(none, none, moves)

    @staticmethod
    def of_log_orderings(ranks: Ranks) -> Changes:
        """Of ``log |Pi_Y|``, the sum of ``log n_k!``."""
        changes = Changes.nothing(ranks.score, ranks)
        size = ranks.counts.expand(changes.moves.shape[2:]).double()
        gain, loss, same = size.log1p(), -size.clamp(min=1).log(), torch.zeros_like(size)
        moves = torch.stack([gain, loss, same, loss, gain, same]).view(changes.moves.shape)
        return Changes(changes.up, changes.down, moves)

    def __sub__(self, other: Changes) -> Changes:
        """Changes of the difference of two functions."""
        return Changes(*(mine - theirs for mine, theirs in zip(self, other, strict=True)))

    def times(self, weight: float | Tensor) -> Changes:
        """Changes of a function times a number for each partition, ``(*batch,)``."""
        if isinstance(weight, Tensor):
            weight = weight.detach().unsqueeze(-1)
        return Changes(*(weight * change for change in self))
