# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

r"""The probability that groups of elements come one after the other, whatever their orders inside.

Elements that ring at the times of independent exponential clocks with rates :math:`s_i` ring in
Plackett-Luce order. All members of a group :math:`g` ring before whoever is left over, with rates
that add up to :math:`R_g`, with the probability :math:`I_g` of
:mod:`pyro_drpm.ops.assignment.integrals`; a single member with :math:`s_i / (s_i + R_g)`. The
probability of all groups is the product. Some elements may be left over for earlier groups and
members of none, as observations that are censored.

References:
    DeLong, D. M., Guirguis, G. H., So, Y. C.: Efficient computation of subset selection
    probabilities with application to Cox regression. Biometrika 81, 1994.

    Ma, J., Yi, X., Tang, W., Zhao, Z., Hong, L., Chi, E. H., Mei, Q.: Learning-to-rank with
    partitioned preference: fast estimation for the Plackett-Luce model. AISTATS 2021,
    arXiv 2006.05067.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_drpm.ops import host
from pyro_drpm.ops.assignment.integrals import log_integrals
from pyro_drpm.ops.overrides import overridable
from pyro_drpm.ops.precision import full_precision
from pyro_drpm.ops.tails import log_tails
from pyro_drpm.ops.transforms import transformed

__all__ = ["Ties", "log_tied_probability", "log_tied_ranking_probability"]

# Stands for the logarithm of no score, where infinity would leave no gradients.
_NONE = -1e30
_LAST = torch.iinfo(torch.long).max


@overridable
@full_precision
def log_tied_ranking_probability(log_s: Tensor, value: Tensor) -> Tensor:
    """Log-probability of rankings with ties, given the sizes of the groups.

    Args:
        log_s: Log-scores, shape ``(*batch, n)``, float32 or float64.
        value: Integers of shape ``(*batch, n)``, the lower the earlier, equal where the order is
            not known; negative for those who are absent.

    Returns:
        Float64, of the shape to which both batch shapes broadcast.
    """
    shape = torch.broadcast_shapes(log_s.shape, value.shape)
    # Those who are absent come last.
    ranks = torch.where(value >= 0, value.long(), _LAST)
    ranks, order = ranks.sort(dim=-1)
    is_present = (ranks < _LAST).expand(shape)
    ranked = log_s.expand(shape).gather(-1, order.expand(shape))
    ties = Ties.of(ranks.expand(shape), is_present)
    tail = log_tails(torch.where(is_present, ranked.double(), _NONE))
    log_rest = F.pad(torch.where(is_present, tail, -torch.inf)[..., 1:], (0, 1), value=-torch.inf)
    return log_tied_probability(ranked, log_rest, ties)


class Ties(NamedTuple):
    """Groups of members with one value, in rows that are sorted.

    Attributes:
        is_alone: Whether a place has the only member of a group, shape ``(*batch, n)``.
        group: Of each place, the number of its group among those of several members, which are
            numbered in each row; ``num_groups`` for other places. Shape ``(*batch, n)``, or that of
            the places that are looked at.
        last: The place of the last member of each of these groups, 0 for one that a row does not
            have, shape ``(*batch, num_groups)``.
        place: Which places are looked at for these groups, all if it is not given.
    """

    is_alone: Tensor
    group: Tensor
    last: Tensor
    place: Tensor | None = None

    @staticmethod
    def of(value: Tensor, is_member: Tensor) -> Ties:
        """Find them.

        Args:
            value: Rows in rising order, those of members first among equals, shape ``(*batch, n)``.
            is_member: Whether there is a member at a place, likewise.
        """
        n = value.shape[-1]
        place = torch.arange(n, device=value.device)
        is_first = F.pad(value[..., 1:] != value[..., :-1], (1, 0), value=True)
        first = torch.where(is_first, place, 0).cummax(-1).values
        count = torch.zeros_like(first).scatter_add(-1, first, is_member.long()).gather(-1, first)
        opens = is_first & (count > 1)
        group = opens.long().cumsum(-1) - 1
        num_groups = _number_of(opens)
        last = torch.zeros_like(first[..., :1]).expand(*first.shape[:-1], num_groups + 1)
        last = last.scatter(-1, torch.where(opens, group, num_groups), first + count - 1)
        is_tied = is_member & (count > 1)
        return Ties(
            is_member & (count == 1),
            torch.where(is_tied, group, num_groups),
            last[..., :-1],
        )

    def compact(self) -> Ties:
        """The same of a single row, which looks at the places of the groups only."""
        place = (self.group < len(self.last)).nonzero().squeeze(-1)
        return self._replace(group=self.group[place], place=place)


def _number_of(opens: Tensor) -> int:
    """The largest number of groups of several members in a row, or of places for them.

    A GPU is not waited for to tell, and a compiler is not interrupted.
    """
    most = opens.shape[-1] // 2
    if not host.is_at_hand(opens) or transformed():
        return most
    return int(opens.sum(-1).max()) if opens.numel() else 0


def log_tied_probability(log_s: Tensor, log_rest: Tensor, ties: Ties) -> Tensor:
    """Log-probability of the groups.

    Args:
        log_s: Log-scores by place, shape ``(*batch, n)``, float32 or float64.
        log_rest: Logarithms of the sums of the scores that are left over behind a place, for a
            group that ends there; shape ``(*batch, n)``, float64, ``-inf`` for nothing.
        ties: The groups, of a batch shape that broadcasts with the others.

    Returns:
        Float64, shape ``(*batch,)``. Differentiable twice and more.
    """
    is_open = ties.is_alone & log_rest.isfinite()
    alone = F.logsigmoid(log_s.double() - torch.where(is_open, log_rest, 0.0))
    total = torch.where(is_open, alone, 0.0).sum(-1)
    if ties.last.shape[-1] == 0:
        return total
    batch_shape = log_s.shape[:-1]
    rest_of_groups = log_rest.gather(-1, ties.last.expand(*batch_shape, -1))
    group = ties.group.expand(*batch_shape, -1)
    members = log_s if ties.place is None else log_s[..., ties.place]
    return total + log_integrals(members, None, rest_of_groups, group).sum(-1)
