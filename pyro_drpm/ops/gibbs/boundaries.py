# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Moves of single elements at the boundaries of subsets, without auxiliary times.

Where scores are far apart, a time that fits the elements on both sides of it fits no others, and no
element crosses a boundary for a long time. So this move looks at the mass itself, which takes an
integral for every candidate, and only at elements that the scores put next to a boundary.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from pyro_drpm.ops.assignment.probability import log_subset_assignment_probability

__all__ = ["move_boundaries", "rank_at_boundary"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_REACH = 2  # ranks on both sides of a boundary
_MAX_ELEMENTS = 10_000


def move_boundaries(
    rng: np.random.Generator,
    labels: Integers,
    log_s: Floats,
    log_other: Callable[[Integers], Floats],
) -> None:
    """Draw anew the subsets of two elements next to some boundaries, given all others.

    All boundaries if there are few elements, else as many as 10,000 elements in all allow.

    The elements that are not in subsets before ``k`` are ranked by their scores for ``k``. Of those
    around the rank at which ``k`` ends without the element, one is drawn from all subsets from
    ``k`` on. Whichever it goes to, it would have been chosen with the same probability.

    Args:
        rng: Source of randomness.
        labels: The subset of each element, shape ``(n,)``; changed in place.
        log_s: Log-scores for every subset, shape ``(K, n)``.
        log_other: Log-probabilities of labels of shape ``(m, n)`` but for their assignment given
            the sizes, shape ``(m,)``.
    """
    scores = torch.from_numpy(np.ascontiguousarray(log_s))
    num_subsets = len(scores)
    number = max(1, _MAX_ELEMENTS // len(labels))
    for k in rng.permutation(num_subsets - 1)[:number].tolist():
        rest = np.flatnonzero(labels >= k)
        ranked = rest[np.argsort(-log_s[k, rest], kind="stable")]
        for is_member in (True, False):
            offset = int(rng.integers(-_REACH, _REACH))
            rank = rank_at_boundary(labels[ranked] == k, is_member, offset)
            if rank is None:
                continue
            candidates = np.repeat(labels[None], num_subsets - k, 0)
            candidates[:, ranked[rank]] = np.arange(k, num_subsets)
            Y = F.one_hot(torch.from_numpy(candidates), num_subsets).mT.double()
            log_p = log_subset_assignment_probability(scores, Y, hard=True).numpy()
            log_p = log_p + log_other(candidates) + rng.gumbel(size=len(log_p))
            labels[:] = candidates[int(log_p.argmax())]


def rank_at_boundary(members: NDArray[np.bool_], is_member: bool, offset: int) -> int | None:
    """The rank of an element next to where a subset ends without it.

    For each element as many choices of the other arguments lead to it if it is a member as if it is
    not.

    Args:
        members: Whether the element of each rank is in the subset.
        is_member: Whether the element is to be.
        offset: How far it is from the end.

    Returns:
        None if there is no such element.
    """
    rank = int(members.sum()) - is_member + offset
    return rank if 0 <= rank < len(members) and members[rank] == is_member else None
