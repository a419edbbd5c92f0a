# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Draws whose labels have been switched, under common names."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pyro_drpm.optional import require
from pyro_drpm.partitions.labels import as_draws, as_partition, canonical
from pyro_drpm.partitions.rows import count_subsets, number_rows
from pyro_drpm.types import Partitions

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["relabel"]


def relabel(draws: Partitions, reference: Partitions) -> Tensor:
    """Rename the labels of every draw so that it agrees with a reference as far as possible.

    A subset takes the name of the subset of the reference that it is matched with, where the
    matching is one to one and as many items as possible agree. Subsets of a draw beyond those of
    the reference are numbered on from its largest label.

    Args:
        draws: Labels ``(draws, n)`` or one-hot matrices ``(draws, K, n)``.
        reference: Labels, shape ``(n,)``, or a one-hot matrix ``(K, n)``, for example a point
            estimate.

    Returns:
        Labels, shape ``(draws, n)``.

    Raises:
        ValueError: As :func:`~pyro_drpm.partitions.as_draws`, or if the reference is no partition
            of as many items.
        ImportError: If SciPy is missing, which comes with the extra ``pyro-drpm[metrics]``.

    Example:
        >>> relabel([[1, 1, 0, 0], [2, 2, 2, 0]], reference=[0, 0, 1, 1])
        tensor([[0, 0, 1, 1],
                [0, 0, 0, 1]])
    """
    drawn = canonical(as_draws(draws))
    target = as_partition(reference, drawn.shape[-1]).to(drawn.device)
    names, target = target.unique(return_inverse=True)
    rows, number = number_rows(drawn), count_subsets(drawn)
    cells = (rows * len(names) + target).flatten()
    tables = cells.bincount(minlength=int(number.sum()) * len(names)).view(-1, len(names))
    named = [_names(table.numpy(), names.tolist()) for table in tables.cpu().split(number.tolist())]
    return torch.from_numpy(np.concatenate(named)).to(drawn.device)[rows]


def _names(table: NDArray[np.int64], names: list[int]) -> NDArray[np.int64]:
    """Names of the subsets of a draw, from their intersections with those of the reference."""
    own, matched = require("scipy.optimize", "metrics").linear_sum_assignment(table, maximize=True)
    partner = dict(zip(own.tolist(), matched.tolist(), strict=True))
    further = count(names[-1] + 1)
    return np.array(
        [names[partner[k]] if k in partner else next(further) for k in range(len(table))]
    )
