# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Which items are in which cluster, once a model is trained."""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from scipy.optimize import linprog
from torch import Tensor

__all__ = ["best_partition", "bounded_shares", "fit_log_weights"]

_STEPS = 500
_PRECISION = 1e-6


def fit_log_weights(log_affinity: Tensor, least: Tensor, most: Tensor) -> Tensor:
    r"""Weights of the clusters for which the expected sizes are what they can be.

    An item is in cluster ``k`` with probability :math:`\propto \omega_k w_k`. The most likely
    weights are found by EM; where their expected sizes are beyond the bounds, they are moved to the
    nearest sizes within, and the weights are scaled until these are the expected ones.

    Args:
        log_affinity: Logarithms of the affinities ``w`` of ``n`` items to the clusters, shape
            ``(n, K)``.
        least: Least sizes, shape ``(K,)``.
        most: Greatest sizes, shape ``(K,)``.

    Returns:
        The logarithms of the weights, shape ``(K,)``.

    Example:
        >>> log_affinity = torch.tensor([[0.0, -1.0], [0.0, -1.0], [-9.0, 0.0], [-9.0, 0.0]])
        >>> two = torch.tensor([2.0, 2.0])
        >>> log_weight = fit_log_weights(log_affinity, least=two, most=two)
        >>> (log_affinity + log_weight).softmax(-1).sum(0)
        tensor([2.0000, 2.0000])
    """
    log_affinity, n = log_affinity.double(), len(log_affinity)
    log_weight = log_affinity.new_zeros(log_affinity.shape[-1])
    for _ in range(_STEPS):
        before, log_weight = log_weight, _log_shares(log_affinity + log_weight)
        if (log_weight.exp() - before.exp()).abs().max() < _PRECISION:
            break
    target = bounded_shares(log_weight.exp(), least.double() / n, most.double() / n)
    for _ in range(_STEPS):
        change = target.log() - _log_shares(log_affinity + log_weight)
        log_weight = log_weight + change.nan_to_num(0.0, neginf=-torch.inf)
        if (change.exp() - 1).abs().max() < _PRECISION:
            break
    return log_weight.log_softmax(0).float()


def _log_shares(logits: Tensor) -> Tensor:
    return logits.log_softmax(-1).logsumexp(0) - np.log(len(logits))


def bounded_shares(shares: Tensor, least: Tensor, most: Tensor) -> Tensor:
    """The most likely shares within bounds for clusters that have other shares.

    Those between the bounds keep their proportions.

    Args:
        shares: Shape ``(K,)``, of sum 1.
        least: Least shares, shape ``(K,)``, of sum at most 1.
        most: Greatest shares, shape ``(K,)``, of sum at least 1.

    Returns:
        Shape ``(K,)``, of sum 1.

    Example:
        >>> some, all = torch.full((3,), 0.2), torch.ones(3)
        >>> bounded_shares(torch.tensor([0.1, 0.3, 0.6]), least=some, most=all)
        tensor([0.2000, 0.2667, 0.5333])
    """
    low, high = shares.new_tensor(-60.0), shares.new_tensor(60.0)  # logarithms of their factor
    for _ in range(100):
        middle = (low + high) / 2
        is_low = (shares * middle.exp()).clamp(least, most).sum() < 1
        low, high = torch.where(is_low, middle, low), torch.where(is_low, high, middle)
    return (shares * high.exp()).clamp(least, most)


def best_partition(log_affinity: Tensor, least: Tensor, most: Tensor) -> Tensor:
    """The partition of most affinity whose clusters are of sizes within bounds.

    Args:
        log_affinity: Shape ``(n, K)``, finite.
        least: Least sizes, integers, shape ``(K,)``.
        most: Greatest sizes, integers, shape ``(K,)``.

    Returns:
        Cluster of every item, int64, shape ``(n,)``.

    Example:
        >>> log_affinity = torch.tensor([[0.0, -1.0], [0.0, -2.0], [0.0, -3.0], [0.0, -4.0]])
        >>> two = torch.tensor([2, 2])
        >>> best_partition(log_affinity, two, two)
        tensor([1, 1, 0, 0])
    """
    n, K = log_affinity.shape
    # A linear program, whose corners are partitions: one column for each item and cluster.
    in_item = sparse.kron(sparse.eye(n), np.ones((1, K)), format="csc")
    in_cluster = sparse.kron(np.ones((1, n)), sparse.eye(K), format="csc")
    solution = linprog(
        -log_affinity.double().numpy().ravel(),
        A_eq=in_item,
        b_eq=np.ones(n),
        A_ub=sparse.vstack([in_cluster, -in_cluster]),
        b_ub=np.concatenate([most.double().numpy(), -least.double().numpy()]),
        bounds=(0, 1),
        method="highs",
    )
    return torch.as_tensor(solution.x).view(n, K).argmax(-1)
