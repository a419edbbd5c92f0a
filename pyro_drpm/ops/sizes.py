# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Subset sizes drawn from their exact conditionals, and the paper's relaxation of them."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pyro_drpm.ops.convolution import convolve
from pyro_drpm.ops.size_law import TINY, SizeLaw, slice_with_zeros

__all__ = ["perturbed_sizes", "relaxed_boundaries", "sample_sizes"]


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
        return (joint if noise is None else joint.log() + noise[..., k, :]).argmax(-1)

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
    law = law.with_gradients(law.log_odds, fast=False)  # for the logarithms below
    prob = law.conditional(slice(-1), law.total - boundaries + counts[..., :-1])
    possible = prob > TINY  # the logarithm's slope, too, has to be finite
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
