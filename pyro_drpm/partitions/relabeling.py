# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Draws whose labels have been switched, under common names."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_drpm.optional import require
from pyro_drpm.partitions.labels import as_draws, as_partition, canonical
from pyro_drpm.partitions.rows import count_subsets, number_rows
from pyro_drpm.partitions.similarity import draw_shares
from pyro_drpm.types import Partitions

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["relabel"]

_MAX_ROUNDS = 50
_CHUNK = 1 << 22  # numbers that are added up at a time


def relabel(
    draws: Partitions,
    reference: Partitions | None = None,
    weights: Tensor | ArrayLike | None = None,
) -> Tensor:
    """Rename the labels of every draw so that they agree as far as possible.

    A subset takes the name of the subset of the reference that it is matched with, where the
    matching is one to one and as many items as possible agree. Subsets of a draw beyond those of
    the reference are numbered on from its largest label.

    Without a reference the draws agree with each other: a subset takes the name that its items have
    in most of the weight of the draws, one to one, until no name changes (Stephens, 2000, with the
    share of items that agree as the gain). Names begin with those of the draw of most weight, or of
    the first with most subsets.

    Args:
        draws: Labels ``(draws, n)`` or one-hot matrices ``(draws, K, n)``.
        reference: Labels, shape ``(n,)``, or a one-hot matrix ``(K, n)``, for example a point
            estimate.
        weights: Of the draws, where there is no reference, as for
            :func:`~pyro_drpm.partitions.similarity_matrix`.

    Returns:
        Labels, shape ``(draws, n)``.

    Raises:
        ValueError: As :func:`~pyro_drpm.partitions.as_draws`, or if the reference is no partition
            of as many items, or there are both reference and weights, or weights are no weights.
        ImportError: If SciPy is missing, which comes with the extra ``pyro-drpm[metrics]``.

    References:
        Stephens, M.: Dealing with label switching in mixture models. Journal of the Royal
        Statistical Society B 62, 2000.

    Example:
        >>> relabel([[1, 1, 0, 0], [2, 2, 2, 0]], reference=[0, 0, 1, 1])
        tensor([[0, 0, 1, 1],
                [0, 0, 0, 1]])
        >>> relabel([[1, 1, 0, 0], [2, 2, 2, 0], [0, 0, 1, 1]])
        tensor([[0, 0, 1, 1],
                [0, 0, 0, 1],
                [0, 0, 1, 1]])
    """
    drawn = canonical(as_draws(draws))
    if reference is None:
        return _agreeing(drawn, draw_shares(weights, drawn))
    if weights is not None:
        raise ValueError("expected either a reference, or weights of the draws, not both")
    target = as_partition(reference, drawn.shape[-1]).to(drawn.device)
    names, target = target.unique(return_inverse=True)
    member = F.one_hot(target, len(names)).double()
    return _named(drawn, member, names.tolist())


def _agreeing(drawn: Tensor, share: Tensor) -> Tensor:
    """Names under which draws agree with each other."""
    n, number = drawn.shape[1], int(drawn.max()) + 1
    heaviest = share == share.max()
    first = int(torch.where(heaviest, drawn.amax(-1), -1).argmax())
    member, labels = F.one_hot(drawn[first], number).double(), drawn
    for _ in range(_MAX_ROUNDS):
        before = labels
        labels = _named(drawn, member, list(range(number)))
        if torch.equal(labels, before):
            break
        cells = (torch.arange(n, device=drawn.device) * number + labels).flatten()
        of_cells = cells.bincount(share.repeat_interleave(n), minlength=n * number)
        member = of_cells.view(n, number)
    return labels


def _named(drawn: Tensor, member: Tensor, names: list[int]) -> Tensor:
    """Draws under the names whose membership ``(n, K)`` their items have most of."""
    rows, number = number_rows(drawn), count_subsets(drawn)
    tables = member.new_zeros(int(number.sum()), len(names))
    for part in rows.split(max(1, _CHUNK // member.numel())):
        tables.index_add_(0, part.flatten(), member.repeat(len(part), 1))
    named = [_names(table.numpy(), names) for table in tables.cpu().split(number.tolist())]
    return torch.from_numpy(np.concatenate(named)).to(drawn.device)[rows]


def _names(table: NDArray[np.float64], names: list[int]) -> NDArray[np.int64]:
    """Names of the subsets of a draw, from their agreement with each name."""
    own, matched = require("scipy.optimize", "metrics").linear_sum_assignment(table, maximize=True)
    partner = dict(zip(own.tolist(), matched.tolist(), strict=True))
    further = count(names[-1] + 1)
    return np.array(
        [names[partner[k]] if k in partner else next(further) for k in range(len(table))]
    )
