# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

r"""Changes of ``log p(Y | sizes)`` between a drawn partition and all of its neighbors.

An exchange of two elements of neighboring subsets ``k`` and ``l`` changes one member of each and
the rest of ``k``; a boundary that moves changes one member and the rest. With the probabilities
:math:`h_i = 1 - e^{-s_i t}` that an element has rung, all integrals of the neighbors are sums over
the nodes of the drawn partition's,

.. math::
    \frac{I'}{I} = \int w(t) \, \frac{R'}{R} e^{-(R' - R) t} \frac{h_j}{h_i} \, dt, \qquad
    w(t) \propto R e^{-R t} \prod_{i \in k} h_i,

so that each neighbor costs one sum over nodes and all of them together a small multiple of the
mass itself. Elements meet the nodes of their own subset and of both subsets beside it.

The nodes are those of a trapezoid rule that reaches as far as the integrands of all neighbors do.
They lie so far apart that gradients, not masses, are accurate: a change is right to some parts in a
thousand, at scores up to 100 nats apart; beyond that it is finite.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from pyro_drpm.ops import host
from pyro_drpm.ops.assignment.boundaries import Boundaries
from pyro_drpm.ops.assignment.changes import Changes
from pyro_drpm.ops.assignment.clocks import log_rung
from pyro_drpm.ops.assignment.members import OwnMembers
from pyro_drpm.ops.assignment.orderings import are_equal
from pyro_drpm.ops.assignment.quadrature import edges, log_peak_of
from pyro_drpm.ops.assignment.ranks import Ranks
from pyro_drpm.ops.assignment.subset_sums import SubsetSums
from pyro_drpm.ops.chunks import at_once

__all__ = ["assignment_probability_changes"]

# Nats between the largest value of an integrand and that at the first and last node.
_DROP = 16.0
# Nodes per unit of log-time, and per standard deviation of an integrand near its mode.
_NODES_PER_UNIT = 1.2
_NODES_PER_DEVIATION = 0.75
_FEWEST_NODES, _MOST_NODES = 16, 256
# Where the spread of scores is not known before it is computed.
_USUAL_NODES = 48
_CHUNK = 1 << 17
# Rates relative to those at the center of the nodes: no exponential of them and no product with a
# time is zero or infinite.
_MAX_LOG = {torch.float32: 60.0, torch.float64: 400.0}
_TINY = 1e-300


@torch.no_grad()
def assignment_probability_changes(log_s: Tensor, ranks: Ranks) -> Changes:
    """Changes of :func:`~pyro_drpm.ops.assignment.probability.log_assignment_probability`.

    Args:
        log_s: Log-scores, shape ``(*batch, n)`` or broadcastable.
        ranks: The drawn partition.

    Returns:
        Float64, without gradients.
    """
    if are_equal(log_s):
        return Changes.of_log_orderings(ranks)  # log |Pi_Y| but for a constant
    ranks = ranks.expand(torch.broadcast_shapes(log_s.shape, ranks.element.shape)[:-1])
    around = Boundaries.of(log_s, ranks)
    nodes = _Nodes.of(around, ranks)
    up, down = _exchanges(around, nodes, ranks)
    return Changes(up, down, _moves(around, nodes))


class _Nodes(NamedTuple):
    """Nodes in log-time of all subsets, ``(*batch, K, nodes)``, for the drawn rests.

    Attributes:
        v: The nodes.
        log_rung: Logarithms of the distance of the nodes, of ``e^v`` and of the probability that
            all members have rung; with the rest's ``log R - R e^v`` it is an integrand.
        log_integral: Logarithms of the drawn partition's integrals, ``(*batch, K)``. A subset
            without a rest has that of its last element for one.
        dtype: Of sums over elements and nodes.
    """

    v: Tensor
    log_rung: Tensor
    log_integral: Tensor
    dtype: torch.dtype

    @staticmethod
    def of(around: Boundaries, ranks: Ranks) -> _Nodes:
        num_subsets = around.rest.shape[-1]
        members = OwnMembers(around.log_s.float(), ranks.subset, num_subsets)
        rest = torch.where(around.has_rest, around.rest, around.last)
        log_peak = log_peak_of(members, rest)
        left, right, _ = edges(members, log_peak, log_peak - rest, _DROP)
        lowest, highest = _extremes(around, ranks, rest)
        low = log_peak - highest - left
        width = log_peak - lowest + right - low
        # The narrowest integrand is that of the greatest rest; no peak exceeds 1 + n_k.
        sharpest = torch.minimum(log_peak + highest - rest, around.size.double().log1p())
        t = torch.linspace(0, 1, _num_nodes(width, sharpest), device=low.device).double()
        v = low.unsqueeze(-1) + width.unsqueeze(-1) * t
        log_step = (width / (len(t) - 1)).log().unsqueeze(-1)
        dtype = torch.float32 if _are_near(around.log_s, width) else torch.float64
        members = OwnMembers(around.log_s.to(dtype), ranks.subset, num_subsets)
        log_rung = v + log_step + members.log_rung(v)
        return _Nodes(v, log_rung, (log_rung + _log_density(rest, v)).logsumexp(-1), dtype)


def _num_nodes(width: Tensor, log_peak: Tensor) -> int:
    """As many as the widest integrand takes; a GPU is not waited for to tell."""
    if not host.is_at_hand(width):
        return _USUAL_NODES
    per_unit = (_NODES_PER_DEVIATION * (log_peak / 2).exp()).clamp(min=_NODES_PER_UNIT)
    return min(max(math.ceil(float((width * per_unit).max())), _FEWEST_NODES), _MOST_NODES)


def _are_near(log_s: Tensor, width: Tensor) -> bool:
    """Whether float32 holds all ratios of scores and nodes; not known without a GPU's answer."""
    if not host.is_at_hand(width):
        return False
    low, high = log_s.aminmax()
    return float(high - low + width.max()) < _MAX_LOG[torch.float32]


def _extremes(around: Boundaries, ranks: Ranks, rest: Tensor) -> tuple[Tensor, Tensor]:
    """Least and greatest rest of each subset among all neighbors, in logarithms."""
    ends, subsets = [], SubsetSums(ranks.subset, rest.shape[-1])
    for sign in (-1, 1):
        own, later = (sign * subsets.largest(sign * x) for x in (around.rest_down, around.rest_up))
        ends.append((own, later.gather(-1, around.following)))
    lowest, highest = (
        torch.stack([torch.where(around.active, x, rest) for x in (*end, rest)]) for end in ends
    )
    fewer = torch.where(around.rest_behind.isfinite(), around.rest_behind, rest)
    more = torch.where(around.has_rest, rest.logaddexp(around.last), rest)
    return lowest.amin(0).minimum(fewer), highest.amax(0).maximum(more)


def _log_density(rest: Tensor, v: Tensor) -> Tensor:
    """``log R - R e^v`` at the nodes."""
    rest = rest.unsqueeze(-1)
    return rest - (rest + v).exp()


def _log_rung(log_s: Tensor, v: Tensor) -> Tensor:
    """Log-probability that an element of each subset has rung at the subset's nodes."""
    return log_rung(log_s.unsqueeze(-1) + v)


def _moves(around: Boundaries, nodes: _Nodes) -> Tensor:
    """Changes of the subsets' parts when boundaries move, see :class:`Changes`."""
    v, log_rung = nodes.v, nodes.log_rung
    present = torch.where(around.active, nodes.log_integral, 0.0)
    some, several = around.size > 0, around.size > 1

    def integral(log_f: Tensor, exists: Tensor) -> Tensor:
        return torch.where(exists, log_f.logsumexp(-1), 0.0)

    first, last, before, behind = (
        _log_rung(x, v) for x in (around.first, around.last, around.before, around.behind)
    )
    # Upwards: the subset gains the element behind it, or loses its first one.
    rest = torch.where(around.has_rest, around.rest, around.last)
    has_other = around.rest_behind.isfinite()
    fewer = log_rung + _log_density(torch.where(has_other, around.rest_behind, rest), v) + behind
    alone = torch.where(has_other, around.behind - around.rest, 0.0)  # of an empty subset
    gained = torch.where(some, integral(fewer, has_other), alone)
    lost = integral(log_rung + _log_density(rest, v) - first, several & around.has_rest)
    upwards = gained, lost, integral(fewer - first, some & has_other)
    # Downwards: it loses its last element to the rest, or gains the one before it.
    more = torch.where(around.has_rest, around.rest.logaddexp(around.last), around.last)
    longer = log_rung + _log_density(more, v) - last
    joined = around.before - around.before.logaddexp(around.rest)
    gained = torch.where(
        some,
        integral(log_rung + _log_density(rest, v) + before, around.has_before & around.has_rest),
        torch.where(around.has_before & around.has_rest, joined, 0.0),
    )
    both = integral(longer + before, some & around.has_before)
    downwards = integral(longer, several), gained, both
    return torch.stack([torch.stack(upwards), torch.stack(downwards)]) - present


def _exchanges(around: Boundaries, nodes: _Nodes, ranks: Ranks) -> tuple[Tensor, Tensor]:
    """Changes of the mass when each element moves up, or down, by an exchange."""
    v, log_rung, own = nodes.v, nodes.log_rung, ranks.of_own
    density = _log_density(torch.where(around.has_rest, around.rest, around.last), v)
    behind = (around.rest_behind.unsqueeze(-1) + v).exp()
    previous, following = own(around.previous), own(around.following)
    has_before, has_rest, active = own(around.has_before), own(around.has_rest), own(around.active)
    comes_into_following = has_rest & around.active.gather(-1, following)
    log_s, rest_up = around.log_s.flatten(), around.rest_up.flatten()
    sums = _SumsOverNodes.of(nodes)

    # The factor of each node is what it weighs without the element that changes places.
    (into_previous,) = sums.log(
        [log_rung - _log_rung(around.last, v)],
        previous,
        has_before,
        lambda i, row: (
            sums.minus_x(log_s[i], row).expm1_().neg_().mul_(sums.minus_x(rest_up[i], row).exp_()),
        ),
    )

    def out(i: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
        odds = sums.minus_x(log_s[i], row).neg_().expm1_().clamp_(min=sums.tiny)
        return (1 + (inverse := odds.reciprocal_())), inverse

    out_up, out_down = sums.log(
        [
            log_rung + density + _log_rung(around.before, v),
            log_rung - behind + _log_rung(around.behind, v),
        ],
        ranks.subset,
        active,
        out,
    )
    (into_following,) = sums.log(
        [log_rung + density - _log_rung(around.first, v)],
        following,
        comes_into_following,
        lambda i, row: (sums.minus_x(log_s[i], row).expm1_().neg_(),),
    )
    up = into_previous + around.rest_up + torch.where(active, out_up, 0.0)
    down = out_down + around.rest_down + torch.where(comes_into_following, into_following, 0.0)
    return torch.where(has_before, up, 0.0), torch.where(has_rest, down, 0.0)


class _SumsOverNodes(NamedTuple):
    """Sums over the nodes of subsets that elements meet.

    Attributes:
        log_integral: See :class:`_Nodes`.
        center: Middle of the nodes, of which rates are measured, shape ``(rows, 1)``.
        time: Times of the nodes from there on, ``(rows, nodes)``.
        tiny: What is not zero yet.
    """

    log_integral: Tensor
    center: Tensor
    time: Tensor
    tiny: float

    @staticmethod
    def of(nodes: _Nodes) -> _SumsOverNodes:
        v = nodes.v.flatten(0, -2)
        center = (v[:, :1] + v[:, -1:]) / 2
        time = (v - center).exp().to(nodes.dtype)
        return _SumsOverNodes(nodes.log_integral, center, time, torch.finfo(nodes.dtype).tiny)

    def minus_x(self, log_rate: Tensor, row: Tensor) -> Tensor:
        """Minus the product of rates and times, shape ``(elements, nodes)``."""
        reach = _MAX_LOG[self.time.dtype]
        log_rate = log_rate.unsqueeze(-1) + self.center.index_select(0, row)
        rate = log_rate.clamp_(-reach, reach).exp_().neg_().to(self.time.dtype)
        return self.time.index_select(0, row).mul_(rate)

    def log(
        self,
        log_factors: list[Tensor],
        subset: Tensor,
        exists: Tensor,
        terms: Callable[[Tensor, Tensor], tuple[Tensor, ...]],
    ) -> list[Tensor]:
        """Logarithms of ``sum_q factor_kq term_iq``, relative to the drawn partition's integral.

        Args:
            log_factors: Logarithms of the factors, ``(*batch, K, nodes)`` each.
            subset: The subset that each element meets, ``(*batch, n)``.
            exists: Whether it does, likewise; what it is given else does not matter.
            terms: Of some elements, given by their places, and rows of the nodes they meet.

        Returns:
            Shape ``(*batch, n)`` each.
        """
        tops = [factor.amax(-1) for factor in log_factors]
        factors = [
            (factor - top.unsqueeze(-1)).exp().flatten(0, -2).to(self.time.dtype)
            for factor, top in zip(log_factors, tops, strict=True)
        ]
        row = torch.arange(len(self.time), device=subset.device).view(self.log_integral.shape)
        row = row.gather(-1, subset).flatten()
        index = torch.arange(len(row), device=row.device)
        if host.is_at_hand(row):
            index = index[exists.flatten()]
        parts = []
        for i in index.split(max(1, at_once(_CHUNK, row) // self.time.shape[-1])):
            rows = row[i]
            products = zip(factors, terms(i, rows), strict=True)
            parts.append(
                torch.stack([(f.index_select(0, rows).mul_(x)).sum(-1) for f, x in products])
            )
        sums = row.new_ones(len(factors), len(row), dtype=torch.float64)
        sums[:, index] = torch.cat(parts, -1).double()
        return [
            total.view(subset.shape).clamp(min=_TINY).log()
            + (top - self.log_integral).gather(-1, subset)
            for total, top in zip(sums, tops, strict=True)
        ]
