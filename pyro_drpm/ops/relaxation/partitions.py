# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""From drawn sizes and perturbed scores to a partition matrix with the relaxation's gradients."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_drpm.ops.relaxation.boundaries import relaxed_boundaries
from pyro_drpm.ops.relaxation.neuralsort import permute_hard, permute_relaxed
from pyro_drpm.ops.sizes.tables import SizeTables

__all__ = ["relaxed_partition", "straight_through_partition"]


def straight_through_partition(
    law: SizeTables,
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
    law: SizeTables,
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
