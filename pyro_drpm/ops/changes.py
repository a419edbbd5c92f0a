# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

r"""By how much a function changes between a drawn partition and its neighbors.

The neighbors are those that probability flows to when a parameter of the law changes
(:mod:`pyro_drpm.ops.exchanges`, :mod:`pyro_drpm.ops.boundary_moves`): an element may change places
with the one at a boundary of its subset, and boundaries may move by one. A gradient of such true
differences has no bias, whatever the function; derivatives in their place are exact for quadratic
functions only.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

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

    def __sub__(self, other: Changes) -> Changes:
        """Changes of the difference of two functions."""
        pairs = zip(self, other, strict=True)
        return Changes(*(mine - theirs for mine, theirs in pairs))
