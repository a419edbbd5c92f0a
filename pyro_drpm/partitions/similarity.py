# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""How often items lie together."""

from __future__ import annotations

import reprlib
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pyro_drpm.partitions.labels import as_draws, as_tensor, canonical
from pyro_drpm.partitions.rows import count_subsets, indicator_rows
from pyro_drpm.types import Partitions

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["draw_shares", "similarity_matrix"]


def similarity_matrix(draws: Partitions, weights: Tensor | ArrayLike | None = None) -> Tensor:
    r"""Share of the draws in which two items lie in the same subset.

    .. math:: p_{ij} = \sum_d w_d \, 1(c_{di} = c_{dj}) \Big/ \sum_d w_d

    Args:
        draws: Labels ``(draws, n)`` or one-hot matrices ``(draws, K, n)``; the names of the labels
            play no part.
        weights: Of the draws, not negative, shape ``(draws,)``, as of importance sampling or of
            :func:`~pyro_drpm.partitions.weighted_estimates`; equal by default.

    Returns:
        Shape ``(n, n)``, symmetric with ones on the diagonal, float64.

    Raises:
        ValueError: As :func:`~pyro_drpm.partitions.as_draws`, or if there are not as many weights
            as draws, or weights are negative, not finite, or all zero.

    Example:
        >>> similarity_matrix([[0, 0, 1], [0, 1, 1]])
        tensor([[1.0000, 0.5000, 0.0000],
                [0.5000, 1.0000, 0.5000],
                [0.0000, 0.5000, 1.0000]], dtype=torch.float64)
    """
    labels = canonical(as_draws(draws))
    n = labels.shape[1]
    if weights is None:
        together = torch.zeros(n, n, device=labels.device)
        for _, members in indicator_rows(labels):
            together.addmm_(members.mT, members)  # whole numbers, exact in float32
        return together.double() / len(labels)
    share = draw_shares(weights, labels)
    of_rows = share.repeat_interleave(count_subsets(labels))
    weighted, start = torch.zeros(n, n, dtype=torch.float64, device=labels.device), 0
    for _, members in indicator_rows(labels):
        of_part = of_rows[start : start + len(members)].unsqueeze(-1)
        weighted.addmm_((members * of_part).mT, members.double())
        start += len(members)
    return weighted


def draw_shares(weights: Tensor | ArrayLike | None, labels: Tensor) -> Tensor:
    """Weights of draws ``(draws, n)`` that add up to 1, float64; equal ones if none are given.

    Raises:
        ValueError: As :func:`similarity_matrix`.
    """
    if weights is None:
        return torch.full(labels.shape[:1], 1 / len(labels), device=labels.device).double()
    given = as_tensor(weights).detach().to(labels.device).double()
    if given.shape != labels.shape[:1]:
        raise ValueError(
            f"expected {len(labels)} weights, one for each draw, but got shape {tuple(given.shape)}"
        )
    if not (given.isfinite() & (given >= 0)).all() or given.sum() == 0:
        raise ValueError(
            f"expected weights that are finite and not negative, one of them positive, but got "
            f"{reprlib.repr(given.tolist())}"
        )
    return given / given.sum()
