# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""How often items lie together."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_drpm.partitions.labels import as_draws, canonical
from pyro_drpm.partitions.rows import indicator_rows
from pyro_drpm.types import Partitions

__all__ = ["similarity_matrix"]


def similarity_matrix(draws: Partitions) -> Tensor:
    r"""Share of the draws in which two items lie in the same subset.

    .. math:: p_{ij} = D^{-1} \sum_d 1(c_{di} = c_{dj})

    Args:
        draws: Labels ``(draws, n)`` or one-hot matrices ``(draws, K, n)``; the names of the labels
            play no part.

    Returns:
        Shape ``(n, n)``, symmetric with ones on the diagonal, float64.

    Raises:
        ValueError: As :func:`~pyro_drpm.partitions.as_draws`.

    Example:
        >>> similarity_matrix([[0, 0, 1], [0, 1, 1]])
        tensor([[1.0000, 0.5000, 0.0000],
                [0.5000, 1.0000, 0.5000],
                [0.0000, 0.5000, 1.0000]], dtype=torch.float64)
    """
    labels = canonical(as_draws(draws))
    num_draws, n = labels.shape
    together = torch.zeros(n, n, device=labels.device)
    for _, members in indicator_rows(labels):
        together.addmm_(members.mT, members)  # whole numbers, exact in float32
    return together.double() / num_draws
