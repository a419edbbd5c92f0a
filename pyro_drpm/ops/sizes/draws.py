# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Subset sizes drawn from their exact conditionals."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pyro_drpm.ops.sizes.tables import SizeTables

__all__ = ["perturbed_sizes", "sample_sizes"]


def sample_sizes(law: SizeTables, shape: torch.Size) -> Tensor:
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


def perturbed_sizes(law: SizeTables, noise: Tensor | None, shape: torch.Size) -> Tensor:
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
        if noise is None:
            return joint.argmax(-1)
        # The logarithm of zero takes many times as long. With any noise this is below all others.
        return (joint.clamp(min=math.ulp(0.0)).log() + noise[..., k, :]).argmax(-1)

    return _counts(law, shape, highest)


@torch.no_grad()
def _counts(law: SizeTables, shape: torch.Size, choose: Callable[[int, Tensor], Tensor]) -> Tensor:
    """Counts one after the other, each an entry of its joint probabilities with what is left."""
    remaining = law.mass_start.new_full(shape, law.total)
    counts = []
    for k in range(law.mass.shape[-2] - 1):
        count = law.mass_start[..., k] + choose(k, law.joint(k, remaining))
        counts.append(count)
        remaining = remaining - count
    return torch.stack([*counts, remaining], -1)
