# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

r"""Exact tables of any law of the sizes whose mass is a product.

The mass is :math:`\prod_k f_k(n_k) / P_0`. Multiplying :math:`f_k(x)` by :math:`e^{\theta x}` for
all :math:`k` leaves it alone, because the total is fixed; with the :math:`\theta` at which the
means of the laws :math:`f_k(x) e^{\theta x} / Z_k` add up to :math:`n`, plain probabilities can be
convolved.
What is below :math:`10^{-300}` of the largest entry of a table counts as 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_drpm.ops.chunks import at_once
from pyro_drpm.ops.convolution import convolve
from pyro_drpm.ops.sizes.search import passing_point
from pyro_drpm.ops.sizes.tables import SizeTables

__all__ = ["product_tables"]

# A search halves its interval so many times. Small tables take one with few operations, large ones
# one with few evaluations; what is small depends on the device.
_HALVINGS = 50
_AT_ONCE, _AT_ONCE_IF_SMALL = 1, 5
_SMALL_ON_A_CPU = 1 << 13


def product_tables(log_factors: Tensor, total: int) -> SizeTables:
    """Builds the tables, ``O(K n^2)``.

    Args:
        log_factors: ``log f_k(x)`` for ``x`` from 0 to ``n``, ``-inf`` where a count is impossible,
            shape ``(*batch, K, n + 1)``, float64. Some counts that are possible must add up to
            ``n``.
        total: Number ``n`` of elements.
    """
    counts = torch.arange(total + 1, device=log_factors.device).double()
    theta = _tilt(log_factors.detach(), counts, total)
    tilted = log_factors + theta[..., None, None] * counts
    mass = tilted.softmax(-1)
    log_scale = tilted.logsumexp(-1).sum(-1) - total * theta
    return SizeTables.of_all_counts(total, mass, _sums_of_later(mass), log_scale)


def _sums_of_later(mass: Tensor) -> Tensor:
    """Laws of ``B_k + ... + B_K`` up to ``n``, shape ``(*batch, K, n + 1)``; row 0 is empty."""
    rows = [mass[..., -1, :]]
    for law in mass[..., 1:-1, :].unbind(-2)[::-1]:
        rows.append(convolve(law, rows[-1], 0, mass.shape[-1]))
    rows = rows[: mass.shape[-2] - 1]
    return torch.stack([torch.zeros_like(mass[..., 0, :]), *rows[::-1]], -2)


@torch.no_grad()
def _tilt(log_factors: Tensor, counts: Tensor, total: int) -> Tensor:
    """The ``theta`` of the module, ``(*batch,)``.

    A slope beyond all slopes of ``log f_k`` puts nearly all mass on the least or greatest count.
    """
    possible = log_factors.isfinite()
    finite = torch.where(possible, log_factors, 0.0)
    bound = (finite.amax((-1, -2)) - finite.amin((-1, -2))) + 40.0
    evaluated = log_factors.numel() << _AT_ONCE_IF_SMALL
    is_small = evaluated <= at_once(_SMALL_ON_A_CPU, log_factors)
    halvings = _AT_ONCE_IF_SMALL if is_small else _AT_ONCE
    log_factors, bound = log_factors.unsqueeze(-3), bound.unsqueeze(-1)

    def is_below(theta: Tensor) -> Tensor:
        law = (log_factors + theta[..., None, None] * counts).softmax(-1)
        return (law * counts).sum((-1, -2)) < total

    rounds = _HALVINGS // halvings
    return passing_point(is_below, -bound, 2 * bound, 1 << halvings, rounds).squeeze(-1)
