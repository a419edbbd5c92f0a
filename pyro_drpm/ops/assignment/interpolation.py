# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

r"""Smooth functions of one variable at many points, from few of them.

A function that is analytic where the imaginary part is below :math:`d` is on an interval of
half-width :math:`h` its Chebyshev interpolant at :math:`m` points up to the order of
:math:`\rho^{-m}`, with :math:`\rho = a + \sqrt{1 + a^2}` and :math:`a = d / h` (Trefethen:
Approximation Theory and Approximation Practice, SIAM 2013, chapters 5 and 8).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pyro_drpm.ops import host
from pyro_drpm.ops.precision import full_precision, product

__all__ = ["interpolated"]

_FEWEST = 4
# Work for the weight of one node at one point, relative to an evaluation (measured on a CPU).
_WEIGHT_WORK = 0.6
_NARROWEST = 1e-3
_TINY = 1e-30
_CHUNK = 1 << 17  # weights that are worked on at a time, which a cache holds


@full_precision
def interpolated(
    function: Callable[[Tensor], Tensor],
    points: Tensor,
    analytic_within: float,
    evaluations: int,
) -> Tensor:
    """``function(points)``, from its values at Chebyshev points where that is less work.

    Each row is interpolated between its least and its largest point, with an error of the order of
    the dtype's precision. How many nodes that takes depends on this interval. On a GPU the host
    would have to wait for it, and a compiled graph does not know it: there the function is
    evaluated at all points.

    Args:
        function: From shape ``(*batch, m)`` to ``(*any, m, c)``; ``batch`` and ``any`` broadcast.
        points: Shape ``(*batch, n)``.
        analytic_within: Imaginary parts ``d`` up to which the function is analytic.
        evaluations: Number of transcendental functions to be evaluated for each point.

    Returns:
        Shape ``(*any, n, c)``.

    Example:
        >>> x = torch.linspace(0, 1, 100)
        >>> result = interpolated(lambda x: x.exp().unsqueeze(-1), x, 3.0, evaluations=1)
        >>> torch.allclose(result[:, 0], x.exp())
        True
    """
    if not host.is_at_hand(points) or not points.numel():
        return function(points)
    points = _without_repeats(points)
    low, high = points.aminmax(dim=-1, keepdim=True)
    middle, half = (low + high) / 2, ((high - low) / 2).clamp(min=_NARROWEST)
    m = _sufficient(float(half.max()), analytic_within, torch.finfo(points.dtype).eps)
    n = points.shape[-1]
    if m is None or m * (evaluations + _WEIGHT_WORK * n) > n * evaluations:
        return function(points)
    angles = (torch.arange(m, dtype=torch.float64, device=points.device) + 0.5) * (math.pi / m)
    signs = 1 - 2 * (torch.arange(m, device=points.device) % 2)
    nodes, weights = (x.to(points.dtype) for x in (angles.cos(), signs * angles.sin()))
    at_nodes = function(middle + half * nodes)
    at_once = max(1, _CHUNK // (m * (points.numel() // n)))
    parts = ((points - middle) / half).split(at_once, -1)
    return torch.cat([product(_shares(x, nodes, weights), at_nodes) for x in parts], -2)


def _shares(x: Tensor, nodes: Tensor, weights: Tensor) -> Tensor:
    """Shares of the nodes in the value at each point, by the barycentric formula."""
    distance = x.unsqueeze(-1) - nodes
    shares = weights / distance.where(distance != 0, _TINY)
    return shares / shares.sum(-1, keepdim=True)


def _sufficient(half_width: float, analytic_within: float, eps: float) -> int | None:
    """Number of points for a relative error of the order of ``eps``; none if nothing suffices."""
    if not math.isfinite(half_width):
        return None
    ratio = analytic_within / half_width
    return max(_FEWEST, math.ceil(-math.log(eps) / math.asinh(ratio)))


def _without_repeats(x: Tensor) -> Tensor:
    """One row for those that are the same in memory, as after ``expand``."""
    rows = (slice(0, 1) if stride == 0 else slice(None) for stride in x.stride()[:-1])
    return x[tuple(rows)]
