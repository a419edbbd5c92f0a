# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""From drawn sizes and perturbed scores to a partition matrix with the relaxation's gradients."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_drpm.ops.relaxation.neuralsort import permute_hard, permute_relaxed

__all__ = ["relaxed_partition", "straight_through_partition"]


def straight_through_partition(
    counts: Tensor,
    soft: Tensor | None,
    scores: Tensor,
    temperature: Tensor | float,
    dtype: torch.dtype,
) -> Tensor:
    """A partition with the gradients of the relaxed one.

    Args:
        counts: Integers, shape ``(*batch, K)``.
        soft: Relaxed boundaries, see :mod:`pyro_drpm.ops.relaxation.boundaries`, whose gradients
            those of the sizes are, shape ``(*batch, K - 1, n)``; none if these need no gradients.
        scores: Shape ``(*batch, n)``; the first subset takes the highest.
        temperature: Of the relaxation; positive.
        dtype: Of the result.

    Returns:
        Entries 0 and 1, shape ``(*batch, K, n)``.
    """
    rank = torch.arange(scores.shape[-1], device=scores.device)
    inside = (rank < counts[..., :-1].cumsum(-1).unsqueeze(-1)).to(dtype)
    if soft is not None:
        inside = inside + (soft - soft.detach())
    return permute_hard(_subsets(inside), scores, temperature)


def relaxed_partition(soft: Tensor, scores: Tensor, temperature: Tensor | float) -> Tensor:
    """The relaxed partition; arguments as for :func:`straight_through_partition`.

    Returns:
        Shape ``(*batch, K, n)``. Entries are not negative and add up to ``n``; the columns need
        not sum to one, as the rows of NeuralSort's matrices do and the columns do not.
    """
    return permute_relaxed(_subsets(soft), scores, temperature)


def _subsets(inside: Tensor) -> Tensor:
    """Indicators of the first ``k`` subsets to those of each subset, ``(*batch, K, n)``."""
    return F.pad(inside, (0, 0, 0, 1), value=1.0) - F.pad(inside, (0, 0, 1, 0))
