# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Quantities of a partition that do not depend on the names of its subsets."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["invariants"]


def invariants(Y: Tensor) -> dict[str, Tensor]:
    r"""Number of subsets, entropy of the sizes, and pairs of items.

    Args:
        Y: One-hot columns, shape ``(*batch, K, n)``.

    Returns:
        ``num_subsets``, the number of subsets that are not empty, and ``size_entropy``,
        :math:`-\sum_k (n_k / n) \log_2 (n_k / n)`, of shape ``(*batch,)``; and ``pairs``, whether
        item ``i`` lies together with item ``i + 1``, shape ``(*batch, n - 1)``.

    Example:
        >>> Y = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
        >>> found = invariants(Y)
        >>> found["num_subsets"], found["size_entropy"], found["pairs"]
        (tensor(2.), tensor(1.), tensor([1., 0., 1.]))
    """
    sizes = Y.sum(-1)
    share = sizes / Y.shape[-1]
    entropy = -torch.xlogy(share, share).sum(-1) / torch.log(share.new_tensor(2.0))
    together = (Y[..., 1:] * Y[..., :-1]).sum(-2)
    return {
        "num_subsets": (sizes > 0.5).sum(-1).to(Y.dtype),
        "size_entropy": entropy,
        "pairs": together,
    }
