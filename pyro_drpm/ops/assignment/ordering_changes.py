# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

r"""Changes of the log-probability of the best ordering between a drawn partition and its neighbors.

The most probable ordering that gives a partition comes subset by subset and by falling score, so
that with ``D_i`` the sum of the scores of all later subsets and of the members with scores of at
most :math:`s_i`

.. math:: \log p(\pi_Y) = \sum_i \log s_i - \sum_k \sum_{i \in k} \log D_i .

An exchange changes two subsets, and each of its members' :math:`D`: all neighbors together take
``O(n^2)`` work.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pyro_drpm.ops.assignment.boundaries import Boundaries
from pyro_drpm.ops.assignment.changes import Changes
from pyro_drpm.ops.assignment.orderings import are_equal
from pyro_drpm.ops.assignment.ranks import Ranks

__all__ = ["best_ordering_changes"]

# Members that are looked at at a time.
_CHUNK = 1 << 22


@torch.no_grad()
def best_ordering_changes(log_s: Tensor, ranks: Ranks) -> Changes:
    """Changes of :func:`~pyro_drpm.ops.assignment.orderings.log_best_ordering_probability`.

    Args:
        log_s: Log-scores, shape ``(*batch, n)`` or broadcastable.
        ranks: The drawn partition.

    Returns:
        Float64, without gradients.
    """
    if are_equal(log_s):
        return Changes.nothing(log_s, ranks)
    ranks = ranks.expand(torch.broadcast_shapes(log_s.shape, ranks.element.shape)[:-1])
    boundaries = Boundaries.of(log_s, ranks)
    # From here on, ranks come in the order of rising scores.
    log_s, order = boundaries.log_s.sort(dim=-1)
    start, end = ranks.start.unsqueeze(-1), ranks.end.unsqueeze(-1)

    def within(first: Tensor, behind: Tensor) -> Tensor:
        rank = order.unsqueeze(-2)
        return (first <= rank) & (rank < behind)

    def part(first: Tensor, behind: Tensor, rest: Tensor) -> Tensor:
        return _part(log_s.unsqueeze(-2), within(first, behind), rest)

    fewer, rest = boundaries.rest_behind, boundaries.rest
    more = torch.where(boundaries.size > 0, rest.logaddexp(boundaries.last), rest)
    present = part(start, end, rest)
    upwards = (
        part(start, end + 1, fewer),
        part(start + 1, end, rest),
        part(start + 1, end + 1, fewer),
    )
    downwards = (
        part(start, end - 1, more),
        part(start - 1, end, rest),
        part(start - 1, end - 1, more),
    )
    moves = torch.stack([torch.stack(upwards), torch.stack(downwards)]) - present

    up, down = [], []
    n = ranks.subset.shape[-1]
    for rank in torch.arange(n, device=log_s.device).split(max(1, _CHUNK // order.numel())):
        up.append(_exchange(boundaries, ranks, (log_s, order), present, rank, upwards=True))
        down.append(_exchange(boundaries, ranks, (log_s, order), present, rank, upwards=False))
    return Changes(torch.cat(up, -1), torch.cat(down, -1), moves)


def _part(log_s: Tensor, is_member: Tensor, rest: Tensor) -> Tensor:
    """``- sum_i log D_i`` over the members, with scores that rise along the last dimension."""
    members = log_s.masked_fill(~is_member, -math.inf).logcumsumexp(-1)
    log_d = members.logaddexp(rest.unsqueeze(-1))
    return -log_d.masked_fill(~is_member, 0.0).sum(-1)


def _exchange(
    boundaries: Boundaries,
    ranks: Ranks,
    by_score: tuple[Tensor, Tensor],
    present: Tensor,
    rank: Tensor,
    upwards: bool,
) -> Tensor:
    """Changes when the elements of some ranks change places, shape ``(*batch, ranks)``."""
    log_s, order = (x.unsqueeze(-2) for x in by_score)
    own = ranks.subset[..., rank]
    if upwards:
        other, exists = boundaries.previous, boundaries.has_before
        neighbor, rest_of_upper = ranks.start - 1, boundaries.rest_up
    else:
        other, exists = boundaries.following, boundaries.has_rest
        neighbor, rest_of_upper = ranks.end, boundaries.rest_down
    other, neighbor = (x.gather(-1, own) for x in (other, neighbor))
    rest_of_lower = boundaries.rest.gather(-1, own if upwards else other)
    rests = rest_of_lower, rest_of_upper[..., rank]
    mine, theirs = order == rank.unsqueeze(-1), order == neighbor.unsqueeze(-1)
    sides = ((own, mine, theirs), (other, theirs, mine))
    change = torch.zeros_like(rest_of_lower)
    for (subset, out, into), rest in zip(sides, rests if upwards else rests[::-1], strict=True):
        start, end = (x.gather(-1, subset).unsqueeze(-1) for x in (ranks.start, ranks.end))
        inside = (start <= order) & (order < end) & ~out
        change = change + _part(log_s, inside | into, rest) - present.gather(-1, subset)
    return torch.where(exists.gather(-1, own), change, 0.0)
