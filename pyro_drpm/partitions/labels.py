# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Partitions as labels: one integer for each item, equal where items lie together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeAlias, Union

import torch
from torch import Tensor

from pyro_drpm.distributions.constraints import partition_matrix
from pyro_drpm.ops.labels import subset_of_each

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["Partitions", "as_draws", "as_labels", "as_tensor", "compact", "indicator_rows"]

# Entries of one-hot matrices that are held at a time.
_CHUNK = 1 << 24

Partitions: TypeAlias = Union[Tensor, "ArrayLike"]
"""Labels, shape ``(draws, n)``, or one-hot matrices ``(draws, K, n)`` as a DRPM draws them."""


def as_draws(draws: Partitions) -> Tensor:
    """Give draws as labels.

    Args:
        draws: Integers of shape ``(draws, n)``, or one-hot matrices of shape ``(draws, K, n)``.

    Returns:
        Labels, shape ``(draws, n)``, int64.

    Raises:
        ValueError: If there are no draws or no items, they differ in length, labels are not
            integers, or matrices not one-hot.

    Example:
        >>> as_draws(torch.tensor([[[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]]))
        tensor([[0, 1, 0]])
    """
    values = as_tensor(draws)
    if values.dim() == 3:
        return _from_one_hot(values)
    if values.dim() != 2 or not values.numel():
        raise ValueError(
            "expected draws as labels of shape (draws, n) or one-hot matrices of shape "
            f"(draws, K, n), at least one draw of one item, but got shape {tuple(values.shape)}"
        )
    return _checked_integers(values)


def as_labels(labels: Partitions, n: int | None = None) -> Tensor:
    """Give one partition, or a batch of them, as labels.

    Args:
        labels: Integers of shape ``(*batch, n)``.
        n: Number of items that is expected, if any.

    Raises:
        ValueError: If the labels are empty, not integers or of another length.
    """
    values = as_tensor(labels)
    if values.dim() == 0 or not values.numel():
        raise ValueError(f"expected labels of shape (n,), but got shape {tuple(values.shape)}")
    if n is not None and values.shape[-1] != n:
        raise ValueError(f"expected labels of {n} items, but got {values.shape[-1]}")
    return _checked_integers(values)


def compact(labels: Tensor) -> Tensor:
    """Number the labels of every partition from 0, in their order.

    Args:
        labels: Integers, shape ``(*batch, n)``.

    Example:
        >>> compact(torch.tensor([[7, 3, 7, 9], [0, 0, 5, 0]]))
        tensor([[1, 0, 1, 2],
                [0, 0, 1, 0]])
    """
    ordered, order = labels.sort(-1)
    steps = torch.zeros_like(ordered)
    steps[..., 1:] = ordered.diff(dim=-1) > 0
    return torch.empty_like(labels).scatter_(-1, order, steps.cumsum(-1))


def indicator_rows(draws: Tensor) -> Iterator[Tensor]:
    """Give which items lie in each subset of each draw, in chunks that fit into memory.

    Args:
        draws: Labels from 0 to ``S - 1``, shape ``(draws, n)``.

    Yields:
        Shape ``(D S, n)`` for the next ``D`` draws, entries 0 and 1, float32.
    """
    num_subsets = int(draws.max()) + 1
    subsets = torch.arange(num_subsets, device=draws.device).unsqueeze(-1)
    for part in draws.split(max(1, _CHUNK // (draws.shape[-1] * num_subsets))):
        yield (part.unsqueeze(-2) == subsets).flatten(0, 1).float()


def as_tensor(values: Partitions) -> Tensor:
    """Give whatever partitions come as, lists of tensors included, as one tensor.

    Raises:
        ValueError: If they differ in length or are no numbers.
    """
    if isinstance(values, Tensor):
        return values
    if isinstance(values, list | tuple):
        rows = [row for row in values if isinstance(row, list | tuple | Tensor)]
        lengths = {len(row) for row in rows}
        if len(lengths) > 1:
            raise ValueError(f"expected draws of one length, but got lengths {sorted(lengths)}")
        tensors = [row for row in rows if isinstance(row, Tensor)]
        if tensors and len(tensors) == len(values):
            return torch.stack(tensors)
    try:
        return torch.as_tensor(values)
    except (TypeError, ValueError) as error:  # strings, or whatever else is no number
        raise ValueError(f"expected labels that are integers, but got {values!r}") from error


def _checked_integers(values: Tensor) -> Tensor:
    if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
        raise ValueError(f"expected labels that are integers, but got {values.dtype}")
    return values.long()


def _from_one_hot(values: Tensor) -> Tensor:
    Y = values.detach().float()
    if not Y.numel() or not partition_matrix.check(Y).all():
        raise ValueError(
            "expected matrices of shape (draws, K, n) with one 1 in every column and 0 elsewhere, "
            f"but got shape {tuple(values.shape)} with other columns"
        )
    return subset_of_each(Y)
