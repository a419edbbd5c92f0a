# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

r"""Laws of each size alone: marginals, means and variances.

With the tables of :mod:`pyro_drpm.ops.sizes.tables`, :math:`m_k` the law of :math:`B_k` and
:math:`R_k` that of :math:`B_k + \dots + B_K`,

.. math::
    P(n_k = x) = m_k(x) \sum_r A_k(r) \, R_{k+1}(r - x), \qquad
    A_{k+1}(r) = \sum_x A_k(r + x) \, m_k(x),

where :math:`A_1` is zero but for :math:`A_1(n) = 1 / P(B_1 + \dots + B_K = n)`. All terms are
positive, so that small means are as accurate as large ones.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pyro_drpm.ops.convolution import correlate
from pyro_drpm.ops.sizes.tables import SizeTables, slice_with_zeros

__all__ = ["SizeMarginals", "boundary_survival", "size_marginals"]


class SizeMarginals(NamedTuple):
    """The law of each subset's size.

    Attributes:
        counts: Integers, shape ``(*batch, K, w)`` or broadcastable with it.
        prob: Their probabilities, shape ``(*batch, K, w)``.
    """

    counts: Tensor
    prob: Tensor

    def expectation(self, values: Tensor) -> Tensor:
        """Means of functions of the sizes, from their values at ``counts``; shape ``(*batch, K)``.

        What cannot be counts for nothing, even where the function is infinite.
        """
        return (self.prob * torch.where(self.prob > 0, values, 0.0)).sum(-1)

    def moments(self) -> tuple[Tensor, Tensor]:
        """Means and variances, shape ``(*batch, K)`` each."""
        mean = self.expectation(self.counts.to(self.prob))
        return mean, self.expectation((self.counts - mean.unsqueeze(-1)).square())


def size_marginals(law: SizeTables) -> SizeMarginals:
    """Laws of the sizes, differentiable.

    Args:
        law: Tables of the size distribution.
    """
    counts = torch.arange(law.mass.shape[-1], device=law.mass.device)
    counts = law.mass_start.unsqueeze(-1) + counts
    if law.mass.shape[-2] == 1:
        prob = law.mass * (counts == law.total)
    else:
        prob = torch.stack(_marginals(law), -2)
    return SizeMarginals(counts, law.normalized(prob))


def _marginals(law: SizeTables) -> list[Tensor]:
    """Laws of the sizes, up to a factor each, in the windows of ``law.mass``."""
    mass, rest = law.mass.unbind(-2), law.rest.unbind(-2)
    width, offset = law.mass.shape[-1], law.offset
    marginals = [law.joint(0, law.mass_start.new_full((), law.total))]
    last = law.total - law.mass_start[..., 0] - law.rest_start[..., 1]
    outside = slice_with_zeros(mass[0], last - (width - 1), width).flip(-1)  # A_2
    for k in range(1, len(mass) - 1):
        marginals.append(mass[k] * correlate(outside, rest[k + 1], offset, width))
        outside = correlate(outside, mass[k], offset, width)
    return [*marginals, mass[-1] * outside]


def boundary_survival(law: SizeTables) -> Tensor:
    """Probabilities ``P(c_k >= i)`` that rank ``i`` is in the first ``k`` subsets, differentiable.

    Args:
        law: Tables that hold all counts from 0 to ``n``.

    Returns:
        Shape ``(*batch, K - 1, n)``.
    """
    if law.mass.shape[-2] == 1:  # no boundary
        return law.mass.new_zeros(*law.mass.shape[:-2], 0, law.total)
    mass, rest = law.mass.unbind(-2), law.rest.unbind(-2)
    left = mass[0].flip(-1)  # what is left over behind the first subset, up to a factor
    rows = []
    for k in range(1, len(mass)):
        rows.append((left * rest[k])[..., 1:].flip(-1))  # P(c_k = i) for i from 0 to n - 1
        left = correlate(left, mass[k], 0, law.mass.shape[-1])
    at_total = law.joint(0, law.mass_start.new_full((), law.total)).sum(-1)
    return 1 - torch.stack(rows, -2).cumsum(-1) / at_total[..., None, None]
