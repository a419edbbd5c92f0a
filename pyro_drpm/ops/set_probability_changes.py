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
They lie far enough apart that gradients, not masses, are accurate: to 1e-4 or better at scores up
to 10 nats apart, to some percent where they are 100 nats apart.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from pyro_drpm.ops.boundaries import Boundaries, largest_of_each
from pyro_drpm.ops.changes import Changes
from pyro_drpm.ops.clocks import log_hit
from pyro_drpm.ops.ranks import Ranks
from pyro_drpm.ops.set_probability import _edges, _log_peak, _OwnMembers

__all__ = ["set_probability_changes"]

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
_MAX_LOG = 400.0
_TINY = 1e-300


@torch.no_grad()
def set_probability_changes(log_s: Tensor, ranks: Ranks) -> Changes:
    """Changes of :func:`~pyro_drpm.ops.set_probability.log_set_probability`.

    Args:
        log_s: Log-scores, shape ``(*batch, n)`` or broadcastable.
        ranks: The drawn partition.

    Returns:
        Float64, without gradients.
    """
    around = Boundaries.of(log_s, ranks)
    nodes = _Nodes.of(around, ranks)
    up, down = _exchanges(around, nodes, ranks)
    return Changes(up, down, _moves(around, nodes))


class _Nodes(NamedTuple):
    """Nodes in log-time of all subsets, ``(*batch, K, nodes)``, for the drawn rests.

    Attributes:
        v: The nodes.
        log_hits: Logarithms of the distance of the nodes, of ``e^v`` and of the probability that
            all members have rung; with the rest's ``log R - R e^v`` it is an integrand.
        log_integral: Logarithms of the drawn partition's integrals, ``(*batch, K)``. A subset
            without a rest has that of its last element for one.
    """

    v: Tensor
    log_hits: Tensor
    log_integral: Tensor

    @staticmethod
    def of(around: Boundaries, ranks: Ranks) -> _Nodes:
        num_subsets = around.rest.shape[-1]
        k = torch.arange(num_subsets + 1, device=around.rest.device).unsqueeze(-1)
        members = _OwnMembers(
            around.log_s, (ranks.subset.unsqueeze(-2) == k).double(), ranks.subset
        )
        rest = torch.where(around.has_rest, around.rest, around.last)
        log_peak = _log_peak(members, rest)
        left, right = _edges(log_peak, _DROP)
        lowest, highest = _extremes(around, ranks, rest)
        low = log_peak - highest - left
        width = log_peak - lowest + right - low
        t = torch.linspace(0, 1, _num_nodes(width, log_peak), device=low.device).double()
        v = low.unsqueeze(-1) + width.unsqueeze(-1) * t
        log_step = (width / (len(t) - 1)).log().unsqueeze(-1)
        log_hits = v + log_step + members.log_hits(v)
        return _Nodes(v, log_hits, (log_hits + _log_density(rest, v)).logsumexp(-1))


def _num_nodes(width: Tensor, log_peak: Tensor) -> int:
    """As many as the widest integrand takes; a GPU is not waited for to tell."""
    if width.device.type != "cpu" or torch.compiler.is_compiling():
        return _USUAL_NODES
    per_unit = (_NODES_PER_DEVIATION * (log_peak / 2).exp()).clamp(min=_NODES_PER_UNIT)
    return min(max(math.ceil(float((width * per_unit).max())), _FEWEST_NODES), _MOST_NODES)


def _extremes(around: Boundaries, ranks: Ranks, rest: Tensor) -> tuple[Tensor, Tensor]:
    """Least and greatest rest of each subset among all neighbors, in logarithms."""
    ends = []
    for sign in (-1, 1):
        own, later = (
            sign * largest_of_each(sign * x, ranks, rest.shape)
            for x in (around.rest_down, around.rest_up)
        )
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


def _log_hit(log_s: Tensor, v: Tensor) -> Tensor:
    """Log-probability that an element of each subset has rung at the subset's nodes."""
    return log_hit(log_s.unsqueeze(-1) + v, torch.ones_like(v))


def _moves(around: Boundaries, nodes: _Nodes) -> Tensor:
    """Changes of the subsets' parts when boundaries move, see :class:`Changes`."""
    v, log_hits = nodes.v, nodes.log_hits
    present = torch.where(around.active, nodes.log_integral, 0.0)
    some, several = around.size > 0, around.size > 1

    def integral(log_f: Tensor, exists: Tensor) -> Tensor:
        return torch.where(exists, log_f.logsumexp(-1), 0.0)

    first, last, before, behind = (
        _log_hit(x, v) for x in (around.first, around.last, around.before, around.behind)
    )
    # Upwards: the subset gains the element behind it, or loses its first one.
    rest = torch.where(around.has_rest, around.rest, around.last)
    has_other = around.rest_behind.isfinite()
    fewer = log_hits + _log_density(torch.where(has_other, around.rest_behind, rest), v) + behind
    alone = torch.where(has_other, around.behind - around.rest, 0.0)  # of an empty subset
    gained = torch.where(some, integral(fewer, has_other), alone)
    lost = integral(log_hits + _log_density(rest, v) - first, several & around.has_rest)
    upwards = gained, lost, integral(fewer - first, some & has_other)
    # Downwards: it loses its last element to the rest, or gains the one before it.
    more = torch.where(around.has_rest, around.rest.logaddexp(around.last), around.last)
    longer = log_hits + _log_density(more, v) - last
    joined = around.before - around.before.logaddexp(around.rest)
    gained = torch.where(
        some,
        integral(log_hits + _log_density(rest, v) + before, around.has_before & around.has_rest),
        torch.where(around.has_before & around.has_rest, joined, 0.0),
    )
    both = integral(longer + before, some & around.has_before)
    downwards = integral(longer, several), gained, both
    return torch.stack([torch.stack(upwards), torch.stack(downwards)]) - present


def _exchanges(around: Boundaries, nodes: _Nodes, ranks: Ranks) -> tuple[Tensor, Tensor]:
    """Changes of the mass when each element moves up, or down, by an exchange."""
    v, log_hits = nodes.v, nodes.log_hits
    density = _log_density(torch.where(around.has_rest, around.rest, around.last), v)
    behind = (around.rest_behind.unsqueeze(-1) + v).exp()
    # What a subset's nodes weigh without the one of both elements that is the same for all.
    factors = [
        log_hits - _log_hit(around.last, v),
        log_hits + density + _log_hit(around.before, v),
        log_hits - behind + _log_hit(around.behind, v),
        log_hits + density - _log_hit(around.first, v),
    ]
    tops = [factor.amax(-1) for factor in factors]
    weights = [(x - top.unsqueeze(-1)).exp() for x, top in zip(factors, tops, strict=True)]
    sums = _sums(around, v, weights, ranks)
    own = ranks.of_own
    previous, following = own(around.previous), own(around.following)
    places = [previous, ranks.subset, ranks.subset, following]
    into_previous, out_up, out_down, into_following = (
        total.log() + (top - nodes.log_integral).gather(-1, place)
        for total, top, place in zip(sums, tops, places, strict=True)
    )
    up = into_previous + around.rest_up + torch.where(own(around.active), out_up, 0.0)
    into_following = torch.where(around.active.gather(-1, following), into_following, 0.0)
    down = out_down + around.rest_down + into_following
    return torch.where(own(around.has_before), up, 0.0), torch.where(
        own(around.has_rest), down, 0.0
    )


def _sums(around: Boundaries, v: Tensor, weights: list[Tensor], ranks: Ranks) -> list[Tensor]:
    """Sums over nodes of weights times what each element adds, ``(*batch, n)`` each.

    With ``x`` the element's rate times time: ``(1 - e^-x) e^{-R' t}`` where it comes into the
    preceding subset, ``1 / (1 - e^-x)`` and ``1 / (e^x - 1)`` where it leaves its own, and
    ``1 - e^-x`` where it comes into the following one.
    """
    num_subsets = v.shape[-2]
    first = torch.arange(ranks.subset[..., 0].numel(), device=v.device) * num_subsets
    first = first.view(ranks.subset.shape[:-1]).unsqueeze(-1)
    own = ranks.of_own
    places = (own(around.previous), ranks.subset, own(around.following))
    rows = [(place + first).flatten() for place in places]
    center = (v[..., :1] + v[..., -1:]) / 2
    time = (v - center).exp().flatten(0, -2)
    center = center.flatten()
    flat = [weight.flatten(0, -2) for weight in weights]
    step = max(1, _CHUNK // v.shape[-1])
    chunks = [x.split(step) for x in (*rows, around.log_s.flatten(), around.rest_up.flatten())]

    def minus_x(log_rate: Tensor, row: Tensor) -> Tensor:
        rate = (log_rate + center[row]).clamp(-_MAX_LOG, _MAX_LOG).exp()
        return time.index_select(0, row) * -rate.unsqueeze(-1)

    parts = []
    for previous, here, following, log_s, rest in zip(*chunks, strict=True):
        into_previous, out_up, out_down, into_following = (
            w.index_select(0, row)
            for w, row in zip(flat, (previous, here, here, following), strict=True)
        )
        odds = minus_x(log_s, here).neg_().expm1_().clamp_(min=_TINY).reciprocal_()
        hit = minus_x(log_s, previous).expm1_().neg_()
        last = minus_x(log_s, following).expm1_().neg_()
        parts.append(
            torch.stack(
                [
                    (into_previous.mul_(hit) * minus_x(rest, previous).exp_()).sum(-1),
                    (out_up * (1 + odds)).sum(-1),
                    (out_down.mul_(odds)).sum(-1),
                    (into_following.mul_(last)).sum(-1),
                ]
            )
        )
    sums = torch.cat(parts, -1).clamp(min=_TINY)
    return list(sums.view(4, *ranks.subset.shape).unbind(0))
