# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

r"""Subset sizes drawn from their exact conditionals, and their gradients.

With the boundaries :math:`c_k = n_1 + \dots + n_k` the element of rank :math:`i` lies in the
first :math:`k` subsets if :math:`c_k \ge i`. A parameter :math:`\theta` changes the law of
:math:`c_k` by a flow of probability between neighbouring counts: the flow from
:math:`x` to :math:`x + 1` is :math:`\partial_\theta P(n_k > x)`. Seen from a drawn count, half of
the flow leaves upwards, across the element just behind the boundary, and half arrives from
below, across the element just before it:

.. math::
    u_k = \frac{\partial_\theta P(n_k \ge x + 1 \mid r)}{2 \, p(x \mid r)} + T^+_k u_{k-1}, \qquad
    d_k = \frac{\partial_\theta P(n_k \ge x \mid r)}{2 \, p(x \mid r)} + T^-_k d_{k-1},

where :math:`r` is what the earlier subsets leave over and :math:`T^\pm_k` is the probability that
the boundary :math:`c_k` follows when :math:`c_{k-1}` moves by one, in the coupling that moves it
least. It is the discrete counterpart of implicit reparametrisation. For a function that is
quadratic in the boundaries' indicators :math:`1(c_k \ge i)` the mean of this straight-through
gradient is the exact gradient (the trapezoid rule is exact for quadratics), whatever the
parameters; no temperature enters.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from pyro_drpm.ops.convolution import convolve
from pyro_drpm.ops.size_law import SizeLaw, slice_with_zeros

__all__ = ["boundary_moves", "perturbed_sizes", "relaxed_boundaries", "sample_sizes"]


class BoundaryMoves(NamedTuple):
    """Zero-valued tensors ``(*sample, *batch, K - 1)`` that carry the gradients of boundaries."""

    up: Tensor
    down: Tensor


def sample_sizes(law: SizeLaw, shape: torch.Size) -> Tensor:
    """Draws counts from the exact conditionals, by inversion of their distribution functions.

    Args:
        law: Tables of the size distribution.
        shape: Full shape of the draw, ``(*sample, *batch)``.

    Returns:
        Integers, shape ``(*sample, *batch, K)``.
    """
    num_subsets = law.mass.shape[-2]
    # Above 0, so that no count is drawn that is impossible.
    level = 1 - torch.rand((*shape, num_subsets - 1), dtype=law.mass.dtype, device=law.mass.device)

    def inverse(k: int, joint: Tensor) -> Tensor:
        cumulative = joint.cumsum(-1)
        return (cumulative < level[..., k, None] * cumulative[..., -1:]).sum(-1)

    return _counts(law, shape, inverse)


def perturbed_sizes(law: SizeLaw, noise: Tensor | None, shape: torch.Size) -> Tensor:
    """Draws counts by Gumbel-max from the exact conditionals, or takes each one's mode.

    Args:
        law: Tables of the size distribution.
        noise: Standard Gumbel noise, shape ``(*sample, *batch, K - 1, w)``; no noise gives
            the most probable count of each conditional.
        shape: Full shape of the draw, ``(*sample, *batch)``.

    Returns:
        Integers, shape ``(*sample, *batch, K)``.
    """

    def highest(k: int, joint: Tensor) -> Tensor:
        score = joint.log()
        return (score if noise is None else score + noise[..., k, :]).argmax(-1)

    return _counts(law, shape, highest)


@torch.no_grad()
def _counts(law: SizeLaw, shape: torch.Size, choose: Callable[[int, Tensor], Tensor]) -> Tensor:
    """Counts one after the other, each an entry of its joint probabilities with what is left."""
    remaining = law.mass_start.new_full(shape, law.total)
    counts = []
    for k in range(law.mass.shape[-2] - 1):
        count = law.mass_start[..., k] + choose(k, law.joint(k, remaining))
        counts.append(count)
        remaining = remaining - count
    return torch.stack([*counts, remaining], -1)


def boundary_moves(law: SizeLaw, counts: Tensor) -> BoundaryMoves:
    """The moves ``u`` and ``d`` of the module's formula at drawn counts.

    Args:
        law: Tables of the size distribution, which the gradients go to.
        counts: Integers, shape ``(*sample, *batch, K)``.
    """
    boundaries = counts[..., :-1].cumsum(-1)
    remaining = law.total - boundaries + counts[..., :-1]
    place = (counts[..., :-1] - law.mass_start[..., :-1]).unsqueeze(-1)
    window = torch.arange(law.mass.shape[-1], device=law.mass.device)
    here, above = window >= place, window > place
    every = slice(-1)

    prob = law.conditional(every, remaining)
    at_count = (here & ~above).to(prob).mul(prob).sum(-1).detach()
    reach, pass_ = (prob * here).sum(-1), (prob * above).sum(-1)
    with torch.no_grad():
        reach_less = (law.conditional(every, remaining - 1) * here).sum(-1)
        pass_more = (law.conditional(every, remaining + 1) * above).sum(-1)
        follow_up = ((reach_less - pass_) / at_count).clamp(0, 1)
        follow_down = ((reach - pass_more) / at_count).clamp(0, 1)
    up = (pass_ - pass_.detach()) / (2 * at_count)
    down = (reach - reach.detach()) / (2 * at_count)
    return BoundaryMoves(_chain(up, follow_up), _chain(down, follow_down))


def _chain(move: Tensor, follow: Tensor) -> Tensor:
    first, *others = move.unbind(-1)
    moves = [first]
    for own, passed_on in zip(others, follow.unbind(-1)[1:], strict=True):
        moves.append(own + passed_on * moves[-1])
    return torch.stack(moves, -1)


def relaxed_boundaries(
    law: SizeLaw, counts: Tensor, noise: Tensor | None, temperature: Tensor | float
) -> Tensor:
    r"""Soft indicators ``A_k(i)`` of rank ``i`` lying in the first ``k`` subsets.

    Each count becomes a Gumbel-softmax distribution over its exact conditional (given the drawn
    earlier counts), and a boundary the sum of independent such counts, so that ``A_k(i)`` is its
    survival function and grows with ``k``.

    Args:
        law: Tables of the size distribution.
        counts: The drawn integers, shape ``(*sample, *batch, K)``.
        noise: The Gumbel noise they were drawn with, or none.
        temperature: Positive.

    Returns:
        Shape ``(*sample, *batch, K - 1, n)``, entries in [0, 1].
    """
    boundaries = counts[..., :-1].cumsum(-1)
    prob = law.conditional(slice(-1), law.total - boundaries + counts[..., :-1])
    possible = prob > 0
    logits = torch.where(possible, prob, 1.0).log()
    if noise is not None:
        logits = logits + noise
    soft = (torch.where(possible, logits, -math.inf) / temperature).softmax(-1)

    n = law.total
    boundary = soft.new_ones(*soft.shape[:-2], 1)  # law of c_0 = 0
    rows = [soft.new_zeros(*soft.shape[:-2], 0, n)]  # a single subset has no boundary
    for k, count in enumerate(soft.unbind(-2)):
        total = convolve(boundary, count, 0, boundary.shape[-1] + count.shape[-1] - 1)
        start = law.mass_start[..., k].expand(total.shape[:-1])
        boundary = slice_with_zeros(total, -start, n)
        rows.append(1 - boundary.cumsum(-1).unsqueeze(-2))  # P(c_k >= i) = 1 - P(c_k <= i - 1)
    return torch.cat(rows, -2)
