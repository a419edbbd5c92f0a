# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

r"""Exact probabilities that an element is in a subset, with one score per element.

Element :math:`i` rings at the time :math:`t` of an exponential clock with rate :math:`s_i`. Its
rank is one more than the number :math:`N_{-i}(t)` of other elements that have rung by then. With
:math:`w_k(r) = P(c_{k - 1} < r \le c_k)`, the probability that rank :math:`r` is in subset
:math:`k`,

.. math:: E[y_{ki}] = \int_0^\infty s_i e^{-s_i t} \, E[w_k(N_{-i}(t) + 1)] \, dt .

:math:`N_{-i}` is a sum of independent indicators. Its law has the characteristic function
:math:`\prod_{j \ne i} (1 - p_j + p_j e^{i \theta})` with :math:`p_j = 1 - e^{-s_j t}`: that of all
elements divided by one factor, at an odd number of angles, none of which is :math:`\pi`, where a
factor may vanish. The integral is a trapezoid rule in :math:`\log t`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pyro_drpm.ops.precision import full_precision

__all__ = ["assignment_marginals"]

# The density of a ring in log-time is exp(v - e^v), below 1e-16 beyond these.
_FIRST, _LAST = -37.0, 3.7
# Distance of nodes: the density is analytic where the imaginary part is below pi / 2, and the law
# of the number that has rung changes over about n^(-1/2).
_LARGEST_STEP = 0.28
_CHUNK = 1 << 21


@full_precision
def assignment_marginals(log_s: Tensor, survival: Tensor) -> Tensor:
    """``E[Y]``, any number of times differentiable, ``O(K n^2 nodes)``.

    Args:
        log_s: Log-scores, shape ``(*batch, n)``.
        survival: ``P(c_k >= r)`` for ranks from 1 to ``n``, shape ``(*batch, K - 1, n)``, float64.

    Returns:
        Shape ``(*batch, K, n)``, float64; columns add up to 1.
    """
    shape = torch.broadcast_shapes(log_s.shape[:-1], survival.shape[:-2])
    n, num_subsets = log_s.shape[-1], survival.shape[-2] + 1
    size = math.prod(shape)
    log_s = log_s.double().expand(*shape, -1).reshape(size, n)
    survival = survival.expand(*shape, -1, -1).reshape(size, num_subsets - 1, n)
    one = survival.new_ones(len(survival), 1, n)
    by_rank = torch.cat([survival, one], -2) - torch.cat([torch.zeros_like(one), survival], -2)
    rows = [_marginals(*row) for row in zip(log_s.unbind(0), by_rank.unbind(0), strict=True)]
    return torch.stack(rows).view(*shape, num_subsets, n)


def _marginals(log_s: Tensor, by_rank: Tensor) -> Tensor:
    """The same without a batch, from ``w_k(r)``, shape ``(K, n)``."""
    n = len(log_s)
    num_angles = n | 1
    rank, angle = (torch.arange(x, device=log_s.device).double() for x in (n, num_angles))
    angle = 2 * math.pi / num_angles * angle
    waves = torch.polar(torch.ones_like(angle), angle)
    # E[w_k(N + 1)] is the mean over angles of the characteristic function times this.
    transform = by_rank.to(torch.complex128) @ torch.exp(-1j * rank.unsqueeze(-1) * angle)
    v = _nodes(log_s.detach(), n)
    step = v[1] - v[0]
    mean = torch.zeros_like(by_rank)
    for part in v.split(max(1, _CHUNK // (n * num_angles))):
        x = (log_s + part.unsqueeze(-1)).exp()  # (nodes, n)
        silent = (-x).exp().unsqueeze(-1)
        factors = silent + (1 - silent) * waves  # (nodes, n, angles)
        others = factors.prod(-2, keepdim=True) / factors
        of_node = (others @ transform.mT).real / num_angles  # (nodes, n, K)
        mean = mean + (x * silent.squeeze(-1)).unsqueeze(-1).mul(of_node).sum(0).mT
    return mean * step


def _nodes(log_s: Tensor, n: int) -> Tensor:
    first, last = _FIRST - float(log_s.max()), _LAST - float(log_s.min())
    step = min(_LARGEST_STEP, (n + 1) ** -0.5)
    number = math.ceil((last - first) / step) + 1
    return torch.linspace(first, last, number, dtype=torch.float64, device=log_s.device)
