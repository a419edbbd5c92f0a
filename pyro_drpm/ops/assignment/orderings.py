# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Log-probabilities of orderings and the bounds they give for partitions."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pyro_drpm.ops.labels import subset_of_each

__all__ = [
    "are_equal",
    "best_ordering",
    "log_best_ordering_probability",
    "log_ordering_probability",
]


def log_ordering_probability(log_s: Tensor, ordering: Tensor) -> Tensor:
    r"""Plackett-Luce log-probability of an ordering.

    .. math:: \log p(\pi) = \sum_i \Big[ \log s_{\pi_i} - \log \sum_{j \ge i} s_{\pi_j} \Big]

    Args:
        log_s: Log-scores, shape ``(*batch, n)``.
        ordering: Element indices, best first, shape ``(*batch, n)``.

    Returns:
        Shape ``(*batch,)``, float64.
    """
    shape = torch.broadcast_shapes(log_s.shape, ordering.shape)
    ordered = log_s.double().expand(shape).gather(-1, ordering.expand(shape))
    return (ordered - ordered.flip(-1).logcumsumexp(-1).flip(-1)).sum(-1)


def are_equal(log_s: Tensor) -> bool:
    """Whether constant scores are one number in memory, as after ``expand``.

    Then all orderings are equally probable, and nothing has to be computed of them.
    """
    return log_s.stride(-1) == 0 and not log_s.requires_grad


def best_ordering(log_s: Tensor, Y: Tensor) -> Tensor:
    """The most probable ordering among those that give the partition.

    The subsets come in turn and the scores fall within each subset.

    Args:
        log_s: Log-scores, shape ``(*batch, n)``.
        Y: Partition matrix with one-hot columns, shape ``(*batch, K, n)``.

    Returns:
        Shape ``(*batch, n)``.
    """
    subset = subset_of_each(Y)
    shape = torch.broadcast_shapes(log_s.shape, subset.shape)
    by_score = log_s.detach().argsort(dim=-1, descending=True, stable=True).expand(shape)
    by_subset = subset.expand(shape).gather(-1, by_score).argsort(dim=-1, stable=True)
    return by_score.gather(-1, by_subset)


def log_best_ordering_probability(log_s: Tensor, Y: Tensor) -> Tensor:
    """Log-probability of the most probable ordering among those that give the partition.

    Nothing is sorted where the scores are one number in memory, as after ``expand``: then all
    orderings have probability ``1 / n!``.

    Args:
        log_s: Log-scores, shape ``(*batch, n)``.
        Y: Partition matrix with one-hot columns, shape ``(*batch, K, n)``.

    Returns:
        Shape ``(*batch,)``, float64.
    """
    if are_equal(log_s):
        shape = torch.broadcast_shapes(log_s.shape[:-1], Y.shape[:-2])
        log_factorial = math.lgamma(log_s.shape[-1] + 1)
        return log_s.new_full(shape, -log_factorial, dtype=torch.float64)
    return log_ordering_probability(log_s, best_ordering(log_s, Y))
