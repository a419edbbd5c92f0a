# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

r"""The normaliser of the size distribution from a characteristic function, without tables.

With the independent binomials :math:`B_k` of :mod:`pyro_drpm.ops.size_law` and their sum ``S``,
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

import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_drpm.ops.tilt import tilt

__all__ = ["log_normalizer"]

# What is left out is below exp(-45) < 1e-19 of P(S = n).
_DROPPED_NATS = 45.0


def log_normalizer(log_omega: Tensor, capacities: Tensor, total: int) -> Tensor:
    """The logarithm of ``P_0``, with derivatives of any order.

    Its gradient are the means of the counts, to the round-off of ``n``; those of
    :func:`~pyro_drpm.ops.size_moments.size_marginals` are accurate however small.

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
    # |q + p e^(i t)|^2 = 1 - 4 p q sin^2(t / 2)
    log_modulus = (most * (-4 * p * q * (t / 2).sin().square()).log1p()).sum(-2) / 2
    phase = (most * torch.atan2(p * t.sin(), q + p * t.cos())).sum(-2) - total * t
    terms = log_modulus.exp() * phase.cos()
    at_total = (2 * terms.sum(-1) - terms[..., 0]) / num_points  # t and -t are conjugate
    return log_scale + at_total.log()


def _num_points(total: int) -> int:
    """Bernstein: ``P(|S - E S| > N) <= 2 exp(-N^2 / (2 (var + N / 3)))``, with ``var <= n``."""
    third = _DROPPED_NATS / 3
    number = math.ceil(third + math.sqrt(third**2 + 2 * _DROPPED_NATS * total))
    return number | 1  # odd, as the angle pi has no derivative where p is one half
