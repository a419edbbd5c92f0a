# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Quantities of a partition that do not depend on the names of its subsets."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pyro_drpm.partitions.labels import as_labels, as_tensor, canonical
from pyro_drpm.partitions.rows import count_subsets, subset_sizes
from pyro_drpm.types import Partitions

__all__ = ["invariants"]


def invariants(partitions: Partitions) -> dict[str, Tensor]:
    r"""Number of subsets, entropy of the sizes, and pairs of items.

    Args:
        partitions: Integers of shape ``(*batch, n)``, or one-hot matrices ``(*batch, K, n)`` of
            floating point numbers or booleans.

    Returns:
        ``num_subsets``, the number of subsets that are not empty, and ``size_entropy``,
        :math:`-\sum_k (n_k / n) \log_2 (n_k / n)`, of shape ``(*batch,)``; and ``pairs``, whether
        item ``i`` lies together with item ``i + 1``, shape ``(*batch, n - 1)``. All are of the
        matrices' dtype, at least float32, or for labels of the default one.

    Raises:
        ValueError: As :func:`~pyro_drpm.partitions.as_labels`.

    Example:
        >>> found = invariants([0, 0, 1, 1])
        >>> found["num_subsets"], found["size_entropy"], found["pairs"]
        (tensor(2.), tensor(1.), tensor([1., 0., 1.]))
    """
    values = as_tensor(partitions)
    labels = canonical(as_labels(values))
    dtype = torch.get_default_dtype()
    if values.is_floating_point():
        dtype = torch.promote_types(values.dtype, torch.float32)
    share = subset_sizes(labels).double() / labels.shape[-1]
    entropy = -torch.xlogy(share, share).sum(-1) / math.log(2)
    found = {
        "num_subsets": count_subsets(labels),
        "size_entropy": entropy,
        "pairs": labels[..., 1:] == labels[..., :-1],
    }
    return {name: quantity.to(dtype) for name, quantity in found.items()}
