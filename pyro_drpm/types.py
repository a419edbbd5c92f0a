# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""What arguments may be: names of choices, and forms of partitions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, TypeAlias, Union

from torch import Tensor

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = [
    "Bound",
    "Estimator",
    "Gradient",
    "Loss",
    "PairLoss",
    "Partitions",
    "TieMethod",
    "UpperBound",
    "Weight",
]

Gradient = Literal["flow", "relaxed"]
"""Straight-through gradients of draws: along the flow of probability, or of the relaxation."""

UpperBound = Literal["tight", "lemma"]
"""Upper bounds of the log-mass: over the orderings that give a partition, or over all."""

Bound = Literal["exact", "tight", "lemma"]
"""Terms of a partition in a loss: the exact log-masses, or the bounds of lemma 4.2."""

Estimator = Literal["flow", "rloo"]
"""How gradients pass through draws: along the flow, or by leave-one-out score functions."""

TieMethod = Literal["exact", "efron", "breslow"]
"""Likelihood of events at one time: exact, or by an approximation."""

Weight: TypeAlias = float | Tensor | Callable[[int], float | Tensor]
"""A weight of a part of the loss: a number, or a function of the step."""

PairLoss = Literal["binder", "vi", "omari", "nvi", "id", "nid"]
"""Losses between two partitions: Binder's, variation of information, one minus the adjusted Rand
index, normalised variation of information, information distance, and that normalised."""

Loss = Literal["binder", "vi", "omari", "nvi", "id", "nid", "vi_lb"]
"""The same, and the lower bound of the expected variation of information."""

Partitions: TypeAlias = Union[Tensor, "ArrayLike"]
"""Labels ``(*batch, n)`` or one-hot matrices ``(*batch, K, n)``: tensors, arrays, lists, frames."""
