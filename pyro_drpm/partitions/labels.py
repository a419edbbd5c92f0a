# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Partitions as labels: one integer for each item, equal where items lie together.

Whatever users have their partitions in comes in here, and goes on as a tensor of labels.
"""

from __future__ import annotations

import reprlib
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pyro_drpm.distributions.constraints import partition_matrix
from pyro_drpm.ops.labels import subset_of_each
from pyro_drpm.types import Partitions

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["as_draws", "as_labels", "as_partition", "as_tensor", "canonical"]


def as_draws(draws: Partitions) -> Tensor:
    """Give draws as labels.

    Args:
        draws: Integers of shape ``(draws, n)``, or one-hot matrices of shape ``(draws, K, n)``.

    Returns:
        Labels, shape ``(draws, n)``, int64; row numbers for matrices.

    Raises:
        ValueError: If there are no draws or no items, they differ in length, labels are not
            integers, or matrices not one-hot.

    Example:
        >>> as_draws(torch.tensor([[[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]]))
        tensor([[0, 1, 0]])
    """
    values = as_tensor(draws)
    if values.dim() not in (2, 3) or not values.numel():
        raise ValueError(
            "expected draws as labels of shape (draws, n) or one-hot matrices of shape "
            f"(draws, K, n), at least one draw of one item, but got shape {tuple(values.shape)}"
        )
    return _from_one_hot(values) if values.dim() == 3 else _from_integers(values)


def as_partition(partition: Partitions, n: int | None = None) -> Tensor:
    """Give one partition as labels.

    Args:
        partition: Integers of shape ``(n,)``, or a one-hot matrix of shape ``(K, n)``.
        n: Number of items that is expected, if any.

    Returns:
        Labels, shape ``(n,)``, int64.

    Raises:
        ValueError: If there are no items or not as many as expected, labels are not integers, or
            the matrix is not one-hot.

    Example:
        >>> as_partition([[True, False, True], [False, True, False]])
        tensor([0, 1, 0])
    """
    values = as_tensor(partition)
    if values.dim() not in (1, 2) or not values.numel():
        raise ValueError(
            "expected one partition as labels of shape (n,) or a one-hot matrix of shape (K, n), "
            f"but got shape {tuple(values.shape)}"
        )
    _check_length(values, n)
    return _from_one_hot(values) if values.dim() == 2 else _from_integers(values)


def as_labels(labels: Partitions, n: int | None = None) -> Tensor:
    """Give one partition, or a batch of them, as labels.

    The number of dimensions does not tell a batch of labels from a matrix, so the type of the
    entries does: integers are labels.

    Args:
        labels: Integers of shape ``(*batch, n)``, or one-hot matrices of shape ``(*batch, K, n)``
            whose entries are floating point numbers or booleans.
        n: Number of items that is expected, if any.

    Returns:
        Labels, shape ``(*batch, n)``, int64.

    Raises:
        ValueError: If the labels are empty or of another length, or neither integers nor one-hot
            matrices.

    Example:
        >>> as_labels([[0, 1, 0], [1, 1, 0]])
        tensor([[0, 1, 0],
                [1, 1, 0]])
        >>> as_labels([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0]])
        tensor([1, 0, 1])
    """
    values = as_tensor(labels)
    if values.dim() == 0 or not values.numel():
        raise ValueError(f"expected labels of shape (n,), but got shape {tuple(values.shape)}")
    _check_length(values, n)
    if values.dim() > 1 and (values.is_floating_point() or values.dtype == torch.bool):
        return _from_one_hot(values)
    return _from_integers(values)


def canonical(labels: Tensor) -> Tensor:
    """Number the subsets of every partition from 0, in the order in which they appear.

    A partition then has the same labels whatever its subsets were called.

    Args:
        labels: Integers, shape ``(*batch, n)``.

    Example:
        >>> canonical(torch.tensor([[7, 3, 7, 9], [0, 0, -5, 0]]))
        tensor([[0, 1, 0, 2],
                [0, 0, 1, 0]])
    """
    ordered, order = labels.sort(dim=-1, stable=True)
    place = torch.arange(labels.shape[-1], device=labels.device).expand_as(labels)
    begins = torch.ones_like(labels, dtype=torch.bool)
    begins[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
    # The first item of each subset, for all of its items.
    first = order.gather(-1, (place * begins).cummax(-1).values)
    first = torch.empty_like(labels).scatter_(-1, order, first)
    return ((first == place).cumsum(-1) - 1).gather(-1, first)


def as_tensor(values: Partitions) -> Tensor:
    """Give whatever holds numbers as one tensor: arrays, data frames, lists of these or of tensors.

    Raises:
        ValueError: If they differ in length or are no numbers.
    """
    if isinstance(values, Tensor):
        return values
    rows = values if isinstance(values, list | tuple) else ()
    lengths = {
        len(row) for row in rows if isinstance(row, list | tuple) or getattr(row, "ndim", None)
    }
    if len(lengths) > 1:
        raise ValueError(f"expected draws of one length, but got lengths {sorted(lengths)}")
    try:
        if any(isinstance(row, Tensor) for row in rows):
            return torch.stack([as_tensor(row) for row in rows])
        return torch.from_numpy(_native(values))
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"expected numbers in tensors, arrays or lists, but got {reprlib.repr(values)}: {error}"
        ) from error


def _native(values: ArrayLike) -> NDArray[np.generic]:
    """As an array that torch can use: in one piece, of this machine's byte order, writeable."""
    if np.ma.is_masked(values):
        raise ValueError("some entries are masked")
    array = np.asarray(values)
    if array.dtype == object:  # as columns of several types are, in a data frame
        array = np.asarray(array.tolist())
    kind = array.dtype.kind
    if kind not in "biuf":
        raise TypeError(f"{array.dtype} is no type of numbers")
    if kind == "u" and array.size and int(array.max()) > np.iinfo(np.int64).max:
        raise ValueError("they do not fit into 64 bits with a sign")
    return np.require(
        array, np.int64 if kind in "iu" else array.dtype.newbyteorder("="), ["C", "W"]
    )


def _check_length(values: Tensor, n: int | None) -> None:
    if n is not None and values.shape[-1] != n:
        raise ValueError(f"expected labels of {n} items, but got {values.shape[-1]}")


def _from_integers(values: Tensor) -> Tensor:
    if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
        raise ValueError(
            f"expected labels that are integers, but got {values.dtype} of shape "
            f"{tuple(values.shape)}"
        )
    return values.long()


def _from_one_hot(values: Tensor) -> Tensor:
    Y = values.detach().float()
    if not partition_matrix.check(Y).all():
        raise ValueError(
            "expected one-hot matrices of shape (..., K, n), with one 1 in every column and 0 "
            f"elsewhere, but got shape {tuple(values.shape)} with other columns"
        )
    return subset_of_each(Y)
