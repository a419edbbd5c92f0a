# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Probabilities that exponential clocks have rung, at times around a center."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["Clocks", "log_rung", "log_rung_slope"]

# At time exp(v) of a center, 1 - exp(-x) is x for log-rates below -_REACH and 1 above it, at all
# nodes and to double precision.
_REACH = 60.0
_LARGE = 80.0  # exp(-x) is nil beyond, and subnormal numbers are slow


class Clocks:
    """Probabilities that clocks have rung and their changes; ``x`` is rate times time.

    The times of nodes lie within a factor ``e^22`` of those of their center, so that no ``x``
    overflows. Both functions keep the relative precision of the dtype, be ``x`` small or large:
    the sum over a million clocks that have rung almost surely is not one of round-off errors.
    """

    def __init__(self, log_rate: Tensor, time: Tensor | float) -> None:
        inside = log_rate.clamp(-_REACH, _REACH)
        self.below = (log_rate - inside).clamp_max_(0)
        minus_x = (time * -inside.exp()).clamp_min_(-_LARGE)
        # Below 1, so that its logarithm is not zero.
        self.silent = minus_x.exp().clamp_max_(1 - torch.finfo(log_rate.dtype).eps / 2)
        # (1 - e^-x) / -x, with the x that the rounded exponential stands for (after Kahan); many
        # times as fast as expm1.
        self.per_minus_x = (1 - self.silent).div_(self.silent.log())
        self.rung = minus_x.mul_(self.per_minus_x)

    def log_rung(self) -> Tensor:
        """``log(1 - exp(-x))``, the log-probability that a clock has rung."""
        lost = (1 - self.rung).sub_(self.silent)  # digits that do not fit beside the 1
        return self.rung.log().add_(lost).add_(self.below)

    def slope(self) -> Tensor:
        """The derivative of that with respect to ``log x``: ``x / (e^x - 1)``."""
        return self.silent.div(self.per_minus_x).neg_()


def log_rung(log_x: Tensor) -> Tensor:
    """:meth:`Clocks.log_rung` of a float64 ``log x``, any number of times differentiable."""
    inside = log_x.clamp(-_REACH, math.log(_LARGE))
    return (-torch.expm1(-inside.exp())).log() + (log_x - inside).clamp(max=0)


def log_rung_slope(log_x: Tensor) -> Tensor:
    """The derivative of ``log(1 - exp(-x))`` with respect to ``log x``: ``x / (e^x - 1)``."""
    x = log_x.clamp(-_REACH, math.log(_LARGE)).exp()
    return x / torch.expm1(x)
