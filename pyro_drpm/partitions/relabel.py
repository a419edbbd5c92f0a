# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Draws whose labels have been switched, under common names."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_drpm.optional import require
from pyro_drpm.partitions.labels import Partitions, as_draws, as_labels, compact

__all__ = ["relabel"]


def relabel(draws: Partitions, reference: Partitions) -> Tensor:
    """Rename the labels of every draw so that it agrees with a reference as far as possible.

    A subset takes the name of the subset of the reference that it is matched with, where the
    matching is one to one and as many items as possible agree. Subsets of a draw beyond those of
    the reference are numbered on.

    Args:
        draws: Labels ``(draws, n)`` or one-hot matrices ``(draws, K, n)``.
        reference: Labels, shape ``(n,)``, for example a point estimate; numbered from 0.

    Returns:
        Labels, shape ``(draws, n)``.

    Raises:
        ValueError: If labels are not integers or differ in length, or there are no draws.
        ImportError: If SciPy is missing, which comes with the extra ``pyro-drpm[metrics]``.

    Example:
        >>> relabel([[1, 1, 0, 0], [2, 2, 2, 0]], reference=[0, 0, 1, 1])
        tensor([[0, 0, 1, 1],
                [0, 0, 0, 1]])
    """
    drawn = compact(as_draws(draws))
    target = compact(as_labels(reference, drawn.shape[-1]))
    names = F.one_hot(target).float()  # (n, T)
    number = max(int(drawn.max()) + 1, names.shape[-1])
    agreement = F.one_hot(drawn, number).float().mT @ names.to(drawn.device)  # (D, S, T)
    agreement = F.pad(agreement, (0, number - names.shape[-1])).cpu()
    linear_sum_assignment = require("scipy.optimize", "metrics").linear_sum_assignment
    renamed = [linear_sum_assignment(table.numpy(), maximize=True)[1] for table in agreement]
    return torch.stack([torch.as_tensor(new) for new in renamed]).to(drawn.device).gather(-1, drawn)
