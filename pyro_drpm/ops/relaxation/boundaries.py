# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Boundaries of the subsets between relaxed sizes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pyro_drpm.ops.convolution import convolve
from pyro_drpm.ops.sizes.tables import TINY, SizeTables, slice_with_zeros

__all__ = ["relaxed_boundaries"]


def relaxed_boundaries(
    law: SizeTables, counts: Tensor, noise: Tensor | None, temperature: Tensor | float
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
    law = law.for_logarithms()
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
