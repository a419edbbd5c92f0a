# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

r"""Who is at risk when events happen.

Subjects are brought into the order of strata and times, events first among equal times. Whoever is
at risk besides those with events at one time is at a later place of the same stratum, but for those
who enter at this time or later: their sum is taken off.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_drpm.ops.tails import log_tails

__all__ = ["EventGroups", "RiskSets"]

# Round-off of a difference of sums, as a share of them.
_ROUND_OFF = 1e-15


class RiskSets(NamedTuple):
    """The order of the subjects, and what is behind each place.

    Attributes:
        order: The subject at each place, shape ``(n,)``.
        segment: The stratum of each place.
        has_rest: Whether anybody is at risk behind a place, at its time.
        late: Who enters too late for a place; none if all are there from the beginning.
        value: The number of the stratum and time of each place, rising.
        is_event: Whether there is an event at a place.
    """

    order: Tensor
    segment: Tensor | None
    has_rest: Tensor
    late: LateEntries | None
    value: Tensor
    is_event: Tensor

    @staticmethod
    def of(time: Tensor, event: Tensor, strata: Tensor | None, entry: Tensor | None) -> RiskSets:
        """Sort the subjects.

        Args:
            time: Of events and of censoring, shape ``(n,)``.
            event: Whether there was one, boolean, shape ``(n,)``.
            strata: Integers, shape ``(n,)``; one stratum if they are not given.
            entry: When they came under observation, shape ``(n,)``; always if it is not given.
        """
        stratum = torch.zeros_like(event, dtype=torch.long) if strata is None else strata
        order = _sorted_by((~event).long(), time, stratum)
        time, event, stratum = time[order], event[order], stratum[order]
        place = torch.arange(len(time), device=time.device)
        behind = torch.searchsorted(stratum, stratum, right=True) - 1 - place
        late = None
        if entry is not None:
            late = LateEntries.of(time, stratum, entry[order])
            behind = behind - late.number
        changes = (time[1:] != time[:-1]) | (stratum[1:] != stratum[:-1])
        value = F.pad(changes.long().cumsum(0), (1, 0))
        return RiskSets(
            order,
            None if strata is None else stratum,
            behind > 0,
            late,
            value,
            event,
        )

    def log_rest(self, log_hazard: Tensor) -> Tensor:
        """Logarithms of the sums of those at risk behind each place, at its time.

        Args:
            log_hazard: By place, float64, shape ``(*batch, n)``.

        Returns:
            Shape ``(*batch, n)``, ``-inf`` if nobody is left.
        """
        tail = F.pad(log_tails(log_hazard, self.segment)[..., 1:], (0, 1))
        if self.late is not None:
            share = (self.late.log_sum(log_hazard) - tail).exp()
            tail = tail + (-share.clamp(max=1 - _ROUND_OFF)).log1p()
        return torch.where(self.has_rest, tail, -torch.inf)


class LateEntries(NamedTuple):
    """Those who are behind a place and enter at its time or later.

    Attributes:
        place: Places by stratum and entry, shape ``(n,)``.
        segment: Their strata.
        first: The first of these who is too late for a place, shape ``(n,)``.
        number: How many are, of its stratum.
    """

    place: Tensor
    segment: Tensor
    first: Tensor
    number: Tensor

    @staticmethod
    def of(time: Tensor, stratum: Tensor, entry: Tensor) -> LateEntries:
        """From what belongs to each place."""
        both, rank = torch.cat([time, entry]).unique(return_inverse=True)
        _, part = stratum.unique(return_inverse=True)
        of_time, of_entry = (part * len(both) + x for x in rank.view(2, -1))
        by_entry, place = of_entry.sort()
        first = torch.searchsorted(by_entry, of_time)
        end = torch.searchsorted(part, part, right=True)
        return LateEntries(place, stratum[place], first, end - first)

    def log_sum(self, log_hazard: Tensor) -> Tensor:
        """The logarithm of their sum for each place, ``-inf`` for nobody."""
        tails = F.pad(log_tails(log_hazard[..., self.place], self.segment), (0, 1))
        return torch.where(self.number > 0, tails[..., self.first], -torch.inf)


class EventGroups(NamedTuple):
    """Events by time.

    Attributes:
        place: Of each event, shape ``(events,)``.
        group: Its number among the times with events.
        share: How many of its group come before it, as a share of the group.
        last: The last place of each group, shape ``(groups,)``.
    """

    place: Tensor
    group: Tensor
    share: Tensor
    last: Tensor

    @staticmethod
    def of(value: Tensor, event: Tensor) -> EventGroups:
        """From the number of its time and whether there was an event, by place."""
        place = event.nonzero().squeeze(-1)
        _, group, count = value[place].unique_consecutive(return_inverse=True, return_counts=True)
        end = count.cumsum(0)
        before = torch.arange(len(place), device=place.device) - (end - count)[group]
        return EventGroups(place, group, before.double() / count[group], place[end - 1])

    def log_sum(self, log_hazard: Tensor) -> Tensor:
        """Logarithms of the sums of each group, shape ``(*batch, groups)``, from all places."""
        own = log_hazard[..., self.place]
        group = self.group.expand_as(own)
        shape = (*own.shape[:-1], len(self.last))
        top = (
            own.detach().new_full(shape, -torch.inf).scatter_reduce(-1, group, own.detach(), "amax")
        )
        weight = (own - top.gather(-1, group)).exp()
        return torch.zeros_like(top).scatter_add(-1, group, weight).log() + top


def _sorted_by(*keys: Tensor) -> Tensor:
    """Indices that sort by the last key, then by the one before it, and so on."""
    order = torch.arange(len(keys[0]), device=keys[0].device)
    for key in keys:
        order = order[key[order].argsort(stable=True)]
    return order
