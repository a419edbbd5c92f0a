# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The shift of log-weights at which independent binomials add up to the total on average."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pyro_drpm.ops.sizes.search import passing_point

__all__ = ["tilt"]

# Many weights take a search with the fewest evaluations, few weights one with fewer steps. 256
# sections would take fewest, but torch.compile takes minutes for as many on a GPU.
_SECTIONS, _SECTIONS_OF_FEW = 16, 32
_FEW = 1 << 6
# Widest range of log-weights that is searched well enough.
_RANGE = 2.0**20


@torch.no_grad()
def tilt(log_omega: Tensor, capacities: Tensor, total: int) -> Tensor:
    r"""Solve :math:`\sum_k m_k \, \sigma(\log \omega_k + \theta) = n` for :math:`\theta`.

    Args:
        log_omega: Log-weights in float64, shape ``(*batch, K)``.
        capacities: Integers ``m_k``, broadcastable with ``(*batch, K)``.
        total: Number ``n`` of elements; the capacities must add up to at least that.

    Returns:
        Shape ``(*batch,)``, without gradients.
    """
    log_omega = log_omega.detach()  # torch.jit.trace records no torch.no_grad()
    most = capacities.double()
    room = most.sum(-1)
    center = (math.log(total) - (room - total).log()).clamp(-60.0, 40.0)
    low, high = center - log_omega.amax(-1), center - log_omega.amin(-1)
    sections = _SECTIONS_OF_FEW if log_omega.numel() <= _FEW else _SECTIONS
    most, width = most.unsqueeze(-1), (high - low)[..., None, None]

    # Of log-odds, not of their shift: torch.compile would make one huge kernel of several searches.
    def is_below(log_odds: Tensor) -> Tensor:
        return (most * torch.sigmoid(log_odds)).sum(-2, keepdim=True) < total

    log_odds = (log_omega + low.unsqueeze(-1)).unsqueeze(-1)
    rounds = _num_rounds(total, sections)
    log_odds = passing_point(is_below, log_odds, width, sections, rounds)
    return log_odds[..., 0, 0] - log_omega[..., 0]


def _num_rounds(total: int, sections: int) -> int:
    # The size distribution is the same for all shifts, which only decide about accuracy and
    # windows: the mean may miss n by a part of its standard deviation, hence the shift, over which
    # the derivative of the mean is the variance, by a part of n^(-1/2).
    return math.ceil(math.log(_RANGE * math.sqrt(total), sections))
