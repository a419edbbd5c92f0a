# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""From drawn sizes and perturbed scores to a partition matrix with gradients."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_drpm.ops.neuralsort import permute_hard, permute_relaxed
from pyro_drpm.ops.size_law import SizeLaw
from pyro_drpm.ops.sizes import boundary_moves, relaxed_boundaries

__all__ = ["hard_partition", "relaxed_partition"]


def hard_partition(
    law: SizeLaw,
    counts: Tensor,
    size_noise: Tensor | None,
    scores: Tensor,
    temperature: Tensor | float,
    dtype: torch.dtype,
) -> Tensor:
    """The partition of sizes ``counts`` along the order of the scores, straight-through.

    The gradient for the sizes is that of :func:`~pyro_drpm.ops.sizes.boundary_moves`, or of the
    relaxed partition where the noise itself takes part in differentiation.

    Args:
        law: Tables of the size distribution.
        counts: Integers, shape ``(*batch, K)``.
        size_noise: The Gumbel noise that the counts were drawn with, or none.
        scores: Shape ``(*batch, n)``; the first subset takes the highest.
        temperature: Of NeuralSort in the backward pass; positive.
        dtype: Of the result.

    Returns:
        Entries 0 and 1, shape ``(*batch, K, n)``.
    """
    boundaries = counts[..., :-1].cumsum(-1).unsqueeze(-1)
    place = torch.arange(law.total, device=counts.device)
    inside = (place < boundaries).to(dtype)
    if torch.is_grad_enabled() and counts.shape[-1] > 1:
        if size_noise is not None and size_noise.requires_grad:
            soft = relaxed_boundaries(law, counts, size_noise, temperature).to(dtype)
            inside = inside + (soft - soft.detach())
        elif law.mass.requires_grad:
            up, down = (move.to(dtype).unsqueeze(-1) for move in boundary_moves(law, counts))
            # One place more at either end, for the boundaries at 0 and n, which cannot move on.
            room = torch.zeros_like(F.pad(inside, (1, 1)))
            moves = room.scatter_add(-1, boundaries + 1, up).scatter_add(-1, boundaries, down)
            inside = inside + moves[..., 1:-1]
    return permute_hard(_subsets(inside), scores, temperature)


def relaxed_partition(
    law: SizeLaw,
    counts: Tensor,
    size_noise: Tensor | None,
    scores: Tensor,
    temperature: Tensor | float,
    dtype: torch.dtype,
) -> Tensor:
    """The relaxed partition; arguments and shapes as :func:`hard_partition`'s.

    Returns:
        Entries are not negative and each row's sum is about its subset's size; the columns need
        not sum to one, as the rows of NeuralSort's matrices do and the columns do not.
    """
    inside = relaxed_boundaries(law, counts, size_noise, temperature).to(dtype)
    return permute_relaxed(_subsets(inside), scores, temperature)


def _subsets(inside: Tensor) -> Tensor:
    """Indicators of the first ``k`` subsets, ``(*batch, K - 1, n)``, to those of each subset."""
    return F.pad(inside, (0, 0, 0, 1), value=1.0) - F.pad(inside, (0, 0, 1, 0))
