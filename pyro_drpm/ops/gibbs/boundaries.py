# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Moves of single elements at the boundaries of subsets, without auxiliary times.

Where scores are far apart, a time that fits the elements on both sides of it fits no others, and no
element crosses a boundary for a long time. So these moves look at the mass itself, which takes an
integral for every candidate, and only at elements that the scores put next to a boundary.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from pyro_drpm.ops.assignment.probability import log_subset_assignment_probability

__all__ = ["move_at_boundary", "rank_at_boundary", "swap_at_boundary"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
LogOther = Callable[[Integers], Floats]

_REACH = 2  # ranks on both sides of a boundary


def move_at_boundary(
    rng: np.random.Generator, labels: Integers, log_s: Floats, log_other: LogOther
) -> None:
    """Draw anew the subset of an element next to a random boundary, given all others.

    The elements that are in no subset before ``k`` are ranked by their scores for ``k``. Of those
    around the rank at which ``k`` ends without the element, one is drawn from all subsets from
    ``k`` on. Whichever it goes to, it would have been chosen with the same probability. So whether
    a member of ``k`` is looked at or another must be drawn as well: one after the other would
    leave another law.

    Args:
        rng: Source of randomness.
        labels: The subset of each element, shape ``(n,)``; changed in place.
        log_s: Log-scores for every subset, shape ``(K, n)``, of two subsets at least.
        log_other: Log-probabilities of labels of shape ``(m, n)`` but for their assignment given
            the sizes, shape ``(m,)``.
    """
    k, ranked = _ranked_at_boundary(rng, labels, log_s)
    is_member, offset = bool(rng.integers(2)), int(rng.integers(-_REACH, _REACH))
    rank = rank_at_boundary(labels[ranked] == k, is_member, offset)
    if rank is not None:
        candidates = np.repeat(labels[None], len(log_s) - k, 0)
        candidates[:, ranked[rank]] = np.arange(k, len(log_s))
        labels[:] = _drawn(rng, candidates, log_s, log_other)


def swap_at_boundary(
    rng: np.random.Generator, labels: Integers, log_s: Floats, log_other: LogOther
) -> None:
    """Draw anew which of two elements next to a random boundary is in which subset.

    Arguments are those of :func:`move_at_boundary`. A swap leaves the boundary where it is.
    """
    k, ranked = _ranked_at_boundary(rng, labels, log_s)
    ranks = (labels == k).sum() + rng.integers(-_REACH, _REACH, size=2)
    if (ranks >= 0).all() and (ranks < len(ranked)).all():
        pair = ranked[ranks]
        candidates = np.repeat(labels[None], 2, 0)
        candidates[1, pair] = labels[pair[::-1]]
        if labels[pair[0]] != labels[pair[1]]:
            labels[:] = _drawn(rng, candidates, log_s, log_other)


def _ranked_at_boundary(
    rng: np.random.Generator, labels: Integers, log_s: Floats
) -> tuple[int, Integers]:
    """A subset, and the elements from it on by their scores for it."""
    k = int(rng.integers(len(log_s) - 1))
    rest = np.flatnonzero(labels >= k)
    return k, rest[np.argsort(-log_s[k, rest], kind="stable")]


def _drawn(
    rng: np.random.Generator, candidates: Integers, log_s: Floats, log_other: LogOther
) -> Integers:
    """One of some labels, shape ``(m, n)``."""
    Y = F.one_hot(torch.from_numpy(candidates), len(log_s)).mT.double()
    scores = torch.from_numpy(np.ascontiguousarray(log_s))
    log_p = log_subset_assignment_probability(scores, Y, hard=True).numpy()
    noise = rng.gumbel(size=len(candidates))
    chosen: Integers = candidates[int((log_p + log_other(candidates) + noise).argmax())]
    return chosen


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
