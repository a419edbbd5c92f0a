# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Probabilities that exponential clocks have rung, at times around a center."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

__all__ = ["Rings", "log_hit", "log_hit_slope"]

# At time exp(v) of a center, 1 - exp(-x) is x for log-rates below -_REACH and 1 above it, at all
# nodes and to double precision.
_REACH = 60.0
_LOG_LARGE = math.log(80.0)  # x / (e^x - 1) is nil beyond


class Rings:
    """Probabilities that clocks have rung and their changes; ``x`` is rate times time.

    The times of nodes lie within a factor ``e^22`` of those of their center, so that no ``x``
    overflows.
    """

    def __init__(self, log_rate: Tensor, time: Tensor) -> None:
        inside, self.below = _within_reach(log_rate)
        self.minus_x = time * -inside.exp()
        self.minus_hit = self.minus_x.expm1()

    def log_hit(self) -> Tensor:
        """``log(1 - exp(-x))``, the log-probability that a clock has rung."""
        return self.minus_hit.neg().log_().add_(self.below)

    def slope(self) -> Tensor:
        """The derivative of that with respect to ``log x``: ``x / (e^x - 1)``."""
        return (1 + self.minus_hit).mul_(self.minus_x).div_(self.minus_hit)


def _within_reach(log_rate: Tensor) -> tuple[Tensor, Tensor]:
    """Log-rates that no exponential makes zero or infinite, and by how much others lie below."""
    inside = log_rate.clamp(-_REACH, _REACH)
    return inside, (log_rate - inside).clamp_(max=0)


def log_hit(log_rate: Tensor, time: Tensor) -> Tensor:
    """``log(1 - exp(-x))``, the log-probability that a clock has rung, ``x`` rate times time."""
    result: Tensor = _LogHit.apply(log_rate, time)
    return result


class _LogHit(torch.autograd.Function):
    """Spares the passes over memory that autograd would need."""

    @staticmethod
    def forward(ctx: Any, log_rate: Tensor, time: Tensor) -> Tensor:
        ctx.save_for_backward(log_rate, time)
        inside, below = _within_reach(log_rate)
        return (time * -inside.exp()).expm1_().neg_().log_().add_(below)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        log_rate, time = ctx.saved_tensors  # the nodes are constants
        slope = log_hit_slope(log_rate + time.log())
        return (grads[0] * slope).sum_to_size(log_rate.shape), None


def log_hit_slope(log_x: Tensor) -> Tensor:
    """The derivative of ``log(1 - exp(-x))`` with respect to ``log x``: ``x / (e^x - 1)``."""
    x = log_x.clamp(-_REACH, _LOG_LARGE).exp()
    return x / torch.expm1(x)
