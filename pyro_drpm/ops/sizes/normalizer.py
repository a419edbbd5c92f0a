# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

r"""The normaliser of the size distribution from a characteristic function, without tables.

With the independent binomials :math:`B_k` of :mod:`pyro_drpm.ops.sizes.tables` and their sum ``S``,
:math:`P_0` is :math:`P(S = n)` times a factor that is known, and

.. math::
    P(S = n) = \frac{1}{N} \sum_{j = 0}^{N - 1} e^{-i n t_j} \prod_k (1 - p_k + p_k e^{i t_j})^{m_k}
    - \sum_{l \ne 0} P(S = n + l N), \qquad t_j = 2 \pi j / N .

By Bernstein's inequality the last sum is below what any float could tell from zero as soon as ``N``
is of order :math:`\sqrt n`. The terms fall off as those of a normal law's characteristic function
and :math:`P(S = n)` is of their order, so that nothing is lost by cancellation. That takes
:math:`O(K \sqrt n)` work, where the tables take :math:`O(K w^2)`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_drpm.ops.sizes.tilt import tilt

__all__ = ["log_normalizer", "mean_counts"]

# What is left out is below exp(-45) < 1e-19 of P(S = n).
_DROPPED_NATS = 45.0


def log_normalizer(log_omega: Tensor, capacities: Tensor, total: int) -> Tensor:
    """The logarithm of ``P_0``, with derivatives of any order.

    Its gradient are the means of the counts, to the round-off of ``n``; those of
    :func:`~pyro_drpm.ops.sizes.moments.size_marginals` are accurate however small.

    Args:
        log_omega: Log-weights, shape ``(*batch, K)``; computed with in float64.
        capacities: Integers ``m_k``, broadcastable with ``(*batch, K)``.
        total: Number ``n`` of elements; the capacities must add up to at least that.

    Returns:
        Shape ``(*batch,)``, float64.

    Example:
        >>> log_normalizer(torch.zeros(2), torch.tensor([3, 2]), 2).exp()  # C(5, 2) ways
        tensor(10.0000, dtype=torch.float64)
    """
    characteristic = _Characteristic.of(log_omega, capacities, total)
    return characteristic.log_scale + characteristic.mean(characteristic.phase.cos()).log()


def mean_counts(log_omega: Tensor, capacities: Tensor, total: int) -> Tensor:
    """Means of the counts, the derivatives of ``log P_0``, to the round-off of ``n``.

    Arguments are those of :func:`log_normalizer`.

    Returns:
        Shape ``(*batch, K)``, float64, with derivatives of any order.

    Example:
        >>> mean_counts(torch.zeros(2), torch.tensor([3, 3]), 2)
        tensor([1.0000, 1.0000], dtype=torch.float64)
    """
    of_sum = _Characteristic.of(log_omega, capacities, total)
    # The derivative of log(q + p e^(it)) is p e^(it) / (q + p e^(it)).
    p, q, t = of_sum.p, of_sum.q, of_sum.t
    real, imaginary = p * (p + q * t.cos()), p * q * t.sin()
    phase = of_sum.phase.unsqueeze(-2)
    terms = (real * phase.cos() - imaginary * phase.sin()) / of_sum.square
    at_total = of_sum.mean(of_sum.phase.cos()).unsqueeze(-1)
    return capacities * of_sum.mean(terms) / at_total


class _Characteristic(NamedTuple):
    """The characteristic function of the sum of independent binomials, at some angles.

    Attributes:
        log_scale: ``log P_0 - log P(S = n)``, shape ``(*batch,)``.
        p: Probabilities of a binomial, shape ``(*batch, K, 1)``.
        q: ``1 - p``.
        t: Angles, shape ``(N,)``.
        square: ``|q + p e^(it)|^2``, shape ``(*batch, K, N)``.
        log_modulus: Of the product, shape ``(*batch, N)``.
        phase: Of the product times ``e^(-int)``.
        num_points: How many angles there are around the circle.
    """

    log_scale: Tensor
    p: Tensor
    q: Tensor
    t: Tensor
    square: Tensor
    log_modulus: Tensor
    phase: Tensor
    num_points: int

    @staticmethod
    def of(log_omega: Tensor, capacities: Tensor, total: int) -> _Characteristic:
        log_omega, capacities = log_omega.double(), capacities.double()
        shift = tilt(log_omega, capacities, total)
        log_odds = log_omega + shift.unsqueeze(-1)
        # log(1 - p), where softplus would round off what is below exp(-20).
        log_scale = -(capacities * F.logsigmoid(-log_odds)).sum(-1) - total * shift
        num_points = _num_points(total)
        t = torch.arange((num_points + 1) // 2, device=log_odds.device).double()
        t = 2 * math.pi / num_points * t
        p, q = log_odds.sigmoid().unsqueeze(-1), (-log_odds).sigmoid().unsqueeze(-1)
        most = capacities.unsqueeze(-1)
        less = -4 * p * q * (t / 2).sin().square()
        log_modulus = (most * less.log1p()).sum(-2) / 2
        phase = (most * torch.atan2(p * t.sin(), q + p * t.cos())).sum(-2) - total * t
        return _Characteristic(log_scale, p, q, t, 1 + less, log_modulus, phase, num_points)

    def mean(self, terms: Tensor) -> Tensor:
        """Mean over all angles of the modulus times real parts at half of them."""
        modulus = self.log_modulus.exp()
        terms = terms * (modulus if terms.shape == modulus.shape else modulus.unsqueeze(-2))
        return (2 * terms.sum(-1) - terms[..., 0]) / self.num_points  # t and -t are conjugate


def _num_points(total: int) -> int:
    """Bernstein: ``P(|S - E S| > N) <= 2 exp(-N^2 / (2 (var + N / 3)))``, with ``var <= n``."""
    third = _DROPPED_NATS / 3
    number = math.ceil(third + math.sqrt(third**2 + 2 * _DROPPED_NATS * total))
    return number | 1  # odd, as the angle pi has no derivative where p is one half
