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

from pyro_drpm.ops.convolution import convolve
from pyro_drpm.ops.sizes.tables import SizeTables, joined

__all__ = ["product_tables"]

_BISECTIONS = 50


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
    start = torch.zeros_like(mass[..., 0], dtype=torch.long)
    mass, rest = joined(mass, _sums_of_later(mass))
    return SizeTables(total, mass, start, rest, start, offset=0, log_scale=log_scale)


def _sums_of_later(mass: Tensor) -> Tensor:
    """Laws of ``B_k + ... + B_K`` up to ``n``, shape ``(*batch, K, n + 1)``; row 0 is empty."""
    rows = [mass[..., -1, :]]
    for law in mass[..., 1:-1, :].unbind(-2)[::-1]:
        rows.append(convolve(law, rows[-1], 0, mass.shape[-1]))
    rows = rows[: mass.shape[-2] - 1]
    return torch.stack([torch.zeros_like(mass[..., 0, :]), *rows[::-1]], -2)


@torch.no_grad()
def _tilt(log_factors: Tensor, counts: Tensor, total: int) -> Tensor:
    """The ``theta`` of the module, ``(*batch,)``, by bisection.

    A slope beyond all slopes of ``log f_k`` puts nearly all mass on the least or greatest count.
    """
    possible = log_factors.isfinite()
    finite = torch.where(possible, log_factors, 0.0)
    bound = (finite.amax((-1, -2)) - finite.amin((-1, -2))) + 40.0
    low, high = -bound, bound
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        law = (log_factors + middle[..., None, None] * counts).softmax(-1)
        is_low = (law * counts).sum((-1, -2)) < total
        low, high = torch.where(is_low, middle, low), torch.where(is_low, high, middle)
    return (low + high) / 2
