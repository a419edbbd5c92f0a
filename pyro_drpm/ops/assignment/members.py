# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Sums over the members of subsets, at the nodes of their integrals."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_drpm.ops.assignment.clocks import Clocks
from pyro_drpm.ops.assignment.interpolation import interpolated
from pyro_drpm.ops.assignment.subset_sums import SubsetSums
from pyro_drpm.ops.chunks import at_once

__all__ = ["Integrals", "Members", "OwnMembers"]

# All terms are analytic functions of log-rates with imaginary parts below this.
_STRIP = math.pi / 2
# Elements times nodes that are evaluated at a time, few enough to stay in a processor's cache.
_CHUNK = 1 << 18
_TINY = 1e-300


class Integrals(NamedTuple):
    """Logarithms of the integrals of all subsets but the last, and their derivatives.

    Attributes:
        log_sum: Shape ``(*batch, K - 1)``.
        weight: Shares of the nodes in an integral, ``(*batch, K - 1, nodes)``.
        by_log_s: Derivatives with respect to the log-score of element ``i`` if it is in subset
            ``k``, shape ``(*batch, K - 1, n)``, or ``(*batch, n)`` for its own subset.
        by_Y: Derivatives with respect to the entries of ``Y``, shape ``(*batch, K - 1, n)``.
    """

    log_sum: Tensor
    weight: Tensor
    by_log_s: Tensor | None
    by_Y: Tensor | None


class Members:
    """Sums over the members of all subsets but the last of functions of ``log s_i + v``.

    They are evaluated in the dtype of the scores. For that every subset's nodes ``v`` are measured
    from a center, to which the rates are brought: the sums are small where it matters.
    """

    def __init__(self, log_s: Tensor, Y: Tensor) -> None:
        self.log_s, self.Y = log_s, Y[..., :-1, :]
        self.count = self.Y.sum(-1).double()

    def log_rates(self, v: Tensor) -> Tensor:
        """``log s_i + v_k``, with ``v`` of shape ``(*batch, K - 1)``."""
        return self.log_s + v.to(self.log_s.dtype).unsqueeze(-1)

    def total(self, values: Tensor) -> Tensor:
        """Sum over the members of what has the shape of :meth:`log_rates`, float64."""
        return (self.Y * values).sum(-1).double()

    def sums(self, v: Tensor, *terms: Callable[[Clocks], Tensor]) -> list[Tensor]:
        """``sum_i y_ki term(s_i e^{v_k})``, ``(*batch, K - 1)``, float64."""
        clocks = Clocks(self.log_rates(v), 1.0)
        return [self.total(term(clocks)) for term in terms]

    def integrate(self, log_rest: Tensor, v: Tensor, by_log_s: bool, by_Y: bool) -> Integrals:
        """Sum the integrand over the nodes; the derivatives that are wanted beside it.

        Args:
            log_rest: Logarithm of the integrand but for the members, ``(*batch, K - 1, nodes)``.
            v: Nodes, the same shape.
            by_log_s: Whether to give these derivatives.
            by_Y: Likewise.
        """
        step = max(1, at_once(_CHUNK, v) // max(1, self.log_s.shape[-1] * v.shape[-1]))
        inputs = (self.log_s, self.Y, log_rest, v)
        chunks = (x.reshape(-1, *x.shape[-2:]).split(step) for x in inputs)
        parts = [
            _integrate(log_s, Y, rest, nodes, by_log_s, by_Y)
            for log_s, Y, rest, nodes in zip(*chunks, strict=True)
        ]
        log_sums, weights, slopes, by_entry = zip(*parts, strict=True)

        def joined(values: tuple[Tensor, ...]) -> Tensor:
            return torch.cat(values).view(v.shape[:-2] + values[0].shape[1:])

        return Integrals(
            joined(log_sums),
            joined(weights),
            joined(slopes) if by_log_s else None,
            joined(by_entry) if by_Y else None,
        )


class OwnMembers(Members):
    """The same where each element is in one subset at most and meets the nodes of this one only.

    Args:
        log_s: Of each element in its subset, shape ``(*batch, n)``.
        subset: Of each element, shape ``(*batch, n)``; ``num_subsets`` for those of none, which
            meet a row of zeros, and what they add up to is dropped.
        num_subsets: How many subsets have nodes.
    """

    def __init__(self, log_s: Tensor, subset: Tensor, num_subsets: int) -> None:
        self.log_s = log_s
        self._subsets = SubsetSums(subset, num_subsets + 1)
        self.count = self.total(torch.ones_like(log_s))

    def log_rates(self, v: Tensor) -> Tensor:
        own_v = F.pad(v, (0, 1)).to(self.log_s.dtype).flatten().index_select(0, self._subsets.row)
        return self.log_s.flatten() + own_v

    def total(self, values: Tensor) -> Tensor:
        return self._subsets.total(values.double())[..., :-1]

    def log_rung(self, v: Tensor) -> Tensor:
        v = F.pad(v, (0, 0, 0, 1))
        sums = v.new_zeros(self._subsets.shape.numel(), v.shape[-1])
        for part, log_rate, time in self._own(v):
            rung = Clocks(log_rate, time).log_rung().double()
            sums.index_add_(0, self._subsets.place[part], rung)
        return self._subsets.joined(sums)[..., :-1, :]

    def integrate(self, log_rest: Tensor, v: Tensor, by_log_s: bool, by_Y: bool) -> Integrals:
        log_f = log_rest + self.log_rung(v)
        weight = log_f.softmax(-1)
        in_dtype = weight.to(self.log_s.dtype)
        return Integrals(
            log_f.logsumexp(-1),
            weight,
            self._own_slopes(v, in_dtype) if by_log_s else None,
            self._mean_log_rung(v, in_dtype) if by_Y else None,
        )

    def _own_slopes(self, v: Tensor, weight: Tensor) -> Tensor:
        v, weight = (F.pad(x, (0, 0, 0, 1)) for x in (v, weight))
        weight = weight.flatten(0, -2)
        sums = [
            (Clocks(log_rate, time).slope() * weight.index_select(0, self._subsets.row[part])).sum(
                -1
            )
            for part, log_rate, time in self._own(v)
        ]
        return torch.cat(sums).view(self.log_s.shape)

    def _mean_log_rung(self, v: Tensor, weight: Tensor) -> Tensor:
        """``sum_q weight_kq log_rung(log s_i + v_kq)``, ``(*batch, K - 1, n)``."""

        def at(log_s: Tensor) -> Tensor:
            batch = torch.broadcast_shapes(log_s.shape[:-1], v.shape[:-2])
            step = _subsets_at_once(batch.numel() * log_s.shape[-1], v)
            sums = [
                (w.unsqueeze(-2) * _clocks_at(log_s.unsqueeze(-2), nodes).log_rung()).sum(-1)
                for nodes, w in zip(v.split(step, -2), weight.split(step, -2), strict=True)
            ]
            return torch.cat(sums, -2).mT

        return interpolated(at, self.log_s, _STRIP, v.shape[-2] * v.shape[-1]).mT

    def _own(self, v: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Of some elements after the other: log-rates and times of their subsets' nodes."""
        center, time = (x.flatten(0, -2) for x in _centered(v, self.log_s.dtype))
        step = max(1, at_once(_CHUNK, v) // v.shape[-1])
        log_s = self.log_s.flatten()
        for start in range(0, len(log_s), step):
            part = slice(start, start + step)
            row = self._subsets.row[part]
            # Whole rows, many times as fast as gather.
            log_rate = log_s[part].unsqueeze(-1) + center.index_select(0, row)
            yield part, log_rate.to(log_s.dtype), time.index_select(0, row)


def _integrate(
    log_s: Tensor, Y: Tensor, log_rest: Tensor, v: Tensor, by_log_s: bool, by_Y: bool
) -> Integrals:
    """The same for some of the batch, with one batch dim."""
    log_f, slopes, by_entry = [], [], []
    step = _subsets_at_once(len(Y) * Y.shape[-1], v)
    size = max(1, at_once(_CHUNK, v) // v.shape[-1])
    subsets = (x.split(step, -2) for x in (log_s.expand_as(Y), Y, log_rest, v))
    for log_s_k, y, log_rest_k, v_k in zip(*subsets, strict=True):
        clocks = [_clocks_at(part, v_k) for part in log_s_k.split(size, -1)]
        rung = [part.log_rung() for part in clocks]
        members = zip(y.unsqueeze(-1).split(size, -2), rung, strict=True)
        sums = [(y_part * part).sum(-2).double() for y_part, part in members]
        log_f.append(log_rest_k + sum(sums))
        weight = log_f[-1].softmax(-1).to(y.dtype).unsqueeze(-2)
        if by_log_s:
            slopes.append(torch.cat([(weight * part.slope()).sum(-1) for part in clocks], -1))
        if by_Y:
            by_entry.append(torch.cat([(weight * part).sum(-1) for part in rung], -1))
    all_log_f = torch.cat(log_f, -2)
    return Integrals(
        all_log_f.logsumexp(-1),
        all_log_f.softmax(-1),
        torch.cat(slopes, -2) if by_log_s else None,
        torch.cat(by_entry, -2) if by_Y else None,
    )


def _subsets_at_once(num_elements: int, v: Tensor) -> int:
    """How many subsets with so many elements, in the whole batch, are evaluated at a time."""
    return max(1, at_once(_CHUNK, v) // max(1, num_elements * v.shape[-1]))


def _clocks_at(log_s: Tensor, v: Tensor) -> Clocks:
    """``Clocks`` at all nodes of their subset, shape ``(*any, n, nodes)``.

    Args:
        log_s: Shape ``(*any, n)``, or broadcastable.
        v: Nodes, shape ``(*any, nodes)``.
    """
    center, time = _centered(v, log_s.dtype)
    log_rate = (log_s + center).to(log_s.dtype)
    return Clocks(log_rate.unsqueeze(-1), time.unsqueeze(-2))


def _centered(v: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The center of the nodes, and the times ``exp(v)`` of the nodes measured from it."""
    center = (v[..., :1] + v[..., -1:]) / 2
    return center, (v - center).to(dtype).exp()
