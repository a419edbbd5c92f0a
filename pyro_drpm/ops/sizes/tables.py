# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

r"""Exact tables of Fisher's multivariate noncentral hypergeometric distribution.

The mass of counts :math:`n_1, \dots, n_K` with total :math:`n` is
:math:`\prod_k \binom{m_k}{n_k} \omega_k^{n_k} / P_0`. Multiplying every weight by the same
:math:`e^\theta` leaves it alone, because the total is fixed. With :math:`\theta` such that the
means of the independent binomials behind the weights,
:math:`B_k \sim \mathrm{Bin}(m_k, \sigma(\log \omega_k + \theta))`, add up to :math:`n`,
the distribution is that of :math:`B` given :math:`\sum_k B_k = n`, an event of probability of
order :math:`n^{-1/2}` at least. So plain probabilities can be convolved without logarithms:
every term is positive (no cancellation), what underflows is below :math:`10^{-300}` of the whole,
and beyond a window around the means whose width grows as :math:`\sqrt n` nothing is left that any
float could tell from zero (Bernstein's inequality). This holds for weights of any scale.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from pyro_drpm.ops.sizes.log_binomial import log_binomial
from pyro_drpm.ops.sizes.partial_sums import differentiable_laws, partial_sums
from pyro_drpm.ops.sizes.tilt import tilt

__all__ = ["TINY", "SizeTables", "fisher_tables", "slice_with_zeros"]

# A window of this half-width leaves out less than exp(-75) < 1e-32 of a sum of independent
# indicators with variance at most n.
_DROPPED_NATS = 75.0
TINY = 1e-300


class SizeTables(NamedTuple):
    """Windows of the binomials and of their partial sums from the last subset backwards.

    Attributes:
        total: The number ``n`` of elements.
        mass: Probabilities of ``B_k``, shape ``(*batch, K, w)``.
        mass_start: Count at the left edge of each window of ``mass``, shape ``(*batch, K)``; may
            be negative, where the mass is 0.
        rest: Probabilities of ``B_k + ... + B_K``, shape ``(*batch, K, w)``; row 0 is empty.
        rest_start: Left edges of the windows of ``rest``, shape ``(*batch, K)``, likewise.
        offset: ``rest_start[k] - mass_start[k] - rest_start[k + 1]``, the same for all.
        log_scale: ``log P_0 - log P(B_1 + ... + B_K = n)``, shape ``(*batch,)``.
        log_odds: Natural parameters of the binomials, shape ``(*batch, K)``, which the gradients of
            ``mass`` and ``rest`` go to.
    """

    total: int
    mass: Tensor
    mass_start: Tensor
    rest: Tensor
    rest_start: Tensor
    offset: int
    log_scale: Tensor
    log_odds: Tensor

    def with_gradients(self, log_odds: Tensor, *, fast: bool = True) -> SizeTables:
        """The same tables in a graph of their own.

        Args:
            log_odds: What the gradients go to, with the values of :attr:`log_odds`.
            fast: Whether the gradients of the tables are of one size; those of their logarithms are
                not, see :mod:`pyro_drpm.ops.sizes.partial_sums`.
        """
        mass, rest = differentiable_laws(
            log_odds, self.mass.detach(), self.rest.detach(), self.mass_start, self.offset, fast
        )
        return self._replace(mass=mass, rest=rest, log_odds=log_odds)

    def conditional(self, subsets: int | slice, remaining: Tensor) -> Tensor:
        """Probabilities of counts given what the earlier subsets have left over.

        All zeros where no count is possible, else :meth:`joint` divided by its sum.
        """
        joint = self.joint(subsets, remaining)
        return joint / joint.sum(-1, keepdim=True).clamp(min=TINY)

    def joint(self, subsets: int | slice, remaining: Tensor) -> Tensor:
        """Probabilities that a count and all later ones add up to what is left over.

        Args:
            subsets: One subset from 0 to ``K - 2``, or ``slice(-1)`` for all of them at once.
            remaining: Elements left for that subset and all later ones, shape ``(*sample, *batch)``
                for one subset, ``(*sample, *batch, K - 1)`` for all.

        Returns:
            One more dimension, of size ``w``; entry ``x`` is the probability of the count
            ``mass_start + x``, exactly 0 where that is impossible.
        """
        return self.mass[..., subsets, :] * self.later(subsets, remaining)[0]

    def later(
        self, subsets: int | slice, remaining: Tensor, margin: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Probabilities that the later subsets add up to what every count leaves for them.

        Args:
            subsets: As for :meth:`joint`.
            remaining: Likewise.
            margin: So many counts before and behind those of ``mass`` are added.

        Returns:
            The probabilities, and the places in ``rest``, with one 0 before and behind, that they
            come from; shapes are those of :meth:`joint`, with ``w + 2 margin`` counts.
        """
        after = slice(1, None) if isinstance(subsets, slice) else subsets + 1
        start = self.mass_start[..., subsets] + self.rest_start[..., after]
        width = self.mass.shape[-1]
        counts = torch.arange(-margin, width + margin, device=start.device)
        index = (remaining - start + 1).unsqueeze(-1) - counts
        index = index.clamp(0, width + 1)
        rest = torch.nn.functional.pad(self.rest[..., after, :], (1, 1))
        return rest.expand(*index.shape[:-1], -1).gather(-1, index), index

    def log_normalizer(self) -> Tensor:
        """The logarithm of ``P_0``, shape ``(*batch,)``."""
        if self.mass.shape[-2] == 1:
            at_total = slice_with_zeros(
                self.mass[..., 0, :], self.total - self.mass_start[..., 0], 1
            )
        else:
            at_total = self.joint(0, self.mass_start.new_full((), self.total))
        return self.log_scale + at_total.sum(-1).log()


def fisher_tables(log_omega: Tensor, capacities: Tensor, total: int) -> SizeTables:
    """Builds the tables, ``O(K w^2)`` with ``w`` the smaller of ``n + 1`` and ``O(sqrt n)``.

    Args:
        log_omega: Log-weights, shape ``(*batch, K)``; computed with in float64.
        capacities: Integers ``m_k``, shape ``(*batch, K)`` or broadcastable.
        total: Number ``n`` of elements; the capacities must add up to at least that.
    """
    shape = torch.broadcast_shapes(log_omega.shape, capacities.shape)
    log_omega = log_omega.double().expand(shape)
    shift = tilt(log_omega, capacities, total)
    log_odds = log_omega + shift.unsqueeze(-1)
    return _tables(log_odds.detach(), shift, capacities, total).with_gradients(log_odds)


@torch.no_grad()
def _tables(log_odds: Tensor, shift: Tensor, capacities: Tensor, total: int) -> SizeTables:
    softplus = torch.nn.functional.softplus(log_odds)
    mean_of_rest = (capacities * log_odds.sigmoid()).flip(-1).cumsum(-1).flip(-1)
    windows = _windows(mean_of_rest, total)

    x = windows.counts
    possible = (x >= 0) & (x <= capacities.unsqueeze(-1))
    x = torch.where(possible, x, 0)
    log_mass = log_binomial(capacities.unsqueeze(-1).double(), x.double())
    log_mass = log_mass + x * log_odds.unsqueeze(-1) - (capacities * softplus).unsqueeze(-1)
    mass = torch.where(possible, log_mass, -math.inf).exp()

    rest = partial_sums(mass, windows.offset)
    log_scale = (capacities * softplus).sum(-1) - total * shift
    return SizeTables(
        total=total,
        mass=mass,
        mass_start=windows.mass_start,
        rest=rest,
        rest_start=windows.rest_start,
        offset=windows.offset,
        log_scale=log_scale,
        log_odds=log_odds,
    )


def _window_width(total: int) -> int:
    """Bernstein: ``P(|S - E S| > t) <= 2 exp(-t^2 / (2 (var + t / 3)))``, with ``var <= n``."""
    third = _DROPPED_NATS / 3
    return 2 * math.ceil(third + math.sqrt(third**2 + 2 * _DROPPED_NATS * total)) + 1


class _Windows(NamedTuple):
    """Where the tables are cut.

    Attributes:
        mass_start: As in :class:`SizeTables`.
        rest_start: As in :class:`SizeTables`.
        counts: What the entries of ``mass`` stand for, ``(*batch, K, w)``, or ``(w,)`` if the same
            for all.
        offset: As in :class:`SizeTables`.
    """

    mass_start: Tensor
    rest_start: Tensor
    counts: Tensor
    offset: int


def _windows(mean_of_rest: Tensor, total: int) -> _Windows:
    """Windows around the means of the partial sums, ``(*batch, K)``, or of the whole support."""
    width = min(total + 1, _window_width(total))
    counts = torch.arange(width, device=mean_of_rest.device)
    center = mean_of_rest.round().long()
    if width == total + 1:
        return _Windows(torch.zeros_like(center), torch.zeros_like(center), counts, 0)
    half = width // 2
    mass_start = center - torch.nn.functional.pad(center[..., 1:], (0, 1)) - half
    return _Windows(mass_start, center - half, mass_start.unsqueeze(-1) + counts, half)


def slice_with_zeros(values: Tensor, first: Tensor, width: int) -> Tensor:
    """``values[..., first : first + width]`` with zeros beyond the ends."""
    index = first.unsqueeze(-1) + torch.arange(width, device=values.device)
    inside = (index >= 0) & (index < values.shape[-1])
    taken = values.gather(-1, index.clamp(0, values.shape[-1] - 1))
    return torch.where(inside, taken, 0.0)
