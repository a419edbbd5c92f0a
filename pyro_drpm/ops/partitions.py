# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""From drawn sizes and perturbed scores to a partition matrix with gradients."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_drpm.ops.boundary_moves import boundary_moves
from pyro_drpm.ops.exchanges import permute_by_draw
from pyro_drpm.ops.neuralsort import permute_hard, permute_relaxed
from pyro_drpm.ops.size_law import SizeLaw
from pyro_drpm.ops.sizes import relaxed_boundaries

__all__ = ["drawn_partition", "relaxed_partition", "straight_through_partition"]


def drawn_partition(law: SizeLaw, counts: Tensor, scores: Tensor, log_s: Tensor) -> Tensor:
    """A partition with the gradients of the law that it was drawn from.

    Those of :func:`~pyro_drpm.ops.boundary_moves.boundary_moves` for the sizes and of
    :func:`~pyro_drpm.ops.exchanges.permute_by_draw` for the scores.

    Args:
        law: Tables of the size distribution.
        counts: Integers drawn from it, shape ``(*batch, K)`` or broadcastable with it.
        scores: ``log_s`` plus Gumbel noise, shape ``(*batch, n)``, float64; the first subset takes
            the highest. Not differentiated.
        log_s: Log-scores, shape ``(*batch, n)``; their dtype is that of the result.

    Returns:
        Entries 0 and 1, shape ``(*batch, K, n)``.
    """
    boundaries = _boundaries(counts)
    inside = _inside(boundaries, law.total, log_s.dtype)
    if torch.is_grad_enabled() and law.mass.requires_grad and counts.shape[-1] > 1:
        up, down = (move.to(log_s.dtype).unsqueeze(-1) for move in boundary_moves(law, counts))
        # One place more at either end, for the boundaries at 0 and n, which cannot move on.
        room = torch.zeros_like(F.pad(inside, (1, 1)))
        moves = room.scatter_add(-1, boundaries + 1, up).scatter_add(-1, boundaries, down)
        inside = inside + moves[..., 1:-1]
    return permute_by_draw(_subsets(inside), scores, log_s)


def straight_through_partition(
    law: SizeLaw,
    counts: Tensor,
    size_noise: Tensor | None,
    scores: Tensor,
    temperature: Tensor | float,
    dtype: torch.dtype,
) -> Tensor:
    """A partition with the gradients of the relaxed one.

    Args:
        law: Tables of the size distribution.
        counts: Integers, shape ``(*batch, K)``.
        size_noise: The Gumbel noise that the counts were drawn with, or none.
        scores: Shape ``(*batch, n)``; the first subset takes the highest.
        temperature: Of the relaxation; positive.
        dtype: Of the result.

    Returns:
        Entries 0 and 1, shape ``(*batch, K, n)``.
    """
    inside = _inside(_boundaries(counts), law.total, dtype)
    if torch.is_grad_enabled():
        soft = relaxed_boundaries(law, counts, size_noise, temperature).to(dtype)
        inside = inside + (soft - soft.detach())
    return permute_hard(_subsets(inside), scores, temperature)


def relaxed_partition(
    law: SizeLaw,
    counts: Tensor,
    size_noise: Tensor | None,
    scores: Tensor,
    temperature: Tensor | float,
    dtype: torch.dtype,
) -> Tensor:
    """The relaxed partition; arguments as for :func:`straight_through_partition`.

    Returns:
        Shape ``(*batch, K, n)``. Entries are not negative and add up to ``n``; the columns need
        not sum to one, as the rows of NeuralSort's matrices do and the columns do not.
    """
    inside = relaxed_boundaries(law, counts, size_noise, temperature).to(dtype)
    return permute_relaxed(_subsets(inside), scores, temperature)


def _boundaries(counts: Tensor) -> Tensor:
    return counts[..., :-1].cumsum(-1).unsqueeze(-1)


def _inside(boundaries: Tensor, n: int, dtype: torch.dtype) -> Tensor:
    """Whether a rank lies in the first ``k`` subsets, shape ``(*batch, K - 1, n)``."""
    return (torch.arange(n, device=boundaries.device) < boundaries).to(dtype)


def _subsets(inside: Tensor) -> Tensor:
    """Indicators of the first ``k`` subsets to those of each subset, ``(*batch, K, n)``."""
    return F.pad(inside, (0, 0, 0, 1), value=1.0) - F.pad(inside, (0, 0, 1, 0))
