# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Checks of the distributions' arguments."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any, TypeGuard

import torch
from torch import Tensor

__all__ = [
    "check_match",
    "checked_bound",
    "checked_count",
    "checked_parameter",
    "checked_temperature",
    "is_integer_sequence",
    "log_weights",
]

_DTYPES = (torch.float32, torch.float64)
_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def checked_count(owner: str, count: int, name: str = "total_count") -> int:
    """A number of elements or subsets.

    Raises:
        ValueError: If it is no positive integer.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ValueError(f"{owner}: expected a positive integer {name}, got {count!r}.")
    return count


def checked_bound(
    owner: str,
    name: str,
    bound: Tensor | Sequence[int] | None,
    default: int,
    shape: Sequence[int],
    device: torch.device,
) -> Tensor:
    """Bounds of counts as long integers of shape ``(*batch, K)``, or the default for all.

    Raises:
        ValueError: If they are no integers or do not broadcast with the shape.
    """
    if bound is None:
        return torch.full(tuple(shape)[-1:], default, device=device)
    if is_integer_sequence(bound):
        bound = torch.tensor(bound, device=device)
    if not isinstance(bound, Tensor) or bound.dtype not in _INTEGERS:
        received = getattr(bound, "dtype", repr(bound))
        raise ValueError(f"{owner}: expected {name} to be an integer tensor, but got {received}.")
    try:
        fits = torch.broadcast_shapes(bound.shape, shape)[-1:] == torch.Size(shape)[-1:]
    except RuntimeError:
        fits = False
    if not fits:
        raise ValueError(
            f"{owner}: expected {name} of a shape that broadcasts with {tuple(shape)}, but got "
            f"{tuple(bound.shape)}."
        )
    return bound.long().expand(*bound.shape[:-1], tuple(shape)[-1])


def is_integer_sequence(value: object) -> TypeGuard[Sequence[int]]:
    """Whether counts were written out by hand, as a list or tuple of integers."""
    return isinstance(value, list | tuple) and all(type(entry) is int for entry in value)


def log_weights(
    owner: str, name: str, value: Tensor | None, log_value: Tensor | None, validate: bool
) -> Tensor:
    """Logarithms of weights of which exactly one form is given.

    Raises:
        ValueError: If both or neither are given or, for a tensor, if it has no dimension, no
            entry, or a dtype other than float32 and float64; with ``validate`` also if entries are
            not finite or, for ``value``, not positive.
    """
    if (value is None) == (log_value is None):
        both = "both" if value is not None else "neither"
        raise ValueError(f"{owner}: expected either {name} or log_{name}, but got {both}.")
    if value is None:
        return checked_parameter(owner, f"log_{name}", log_value, validate, positive=False)
    return checked_parameter(owner, name, value, validate, positive=True).log()


def checked_parameter(
    owner: str, name: str, given: Tensor | None, validate: bool, *, positive: bool
) -> Tensor:
    """A parameter of shape ``(*batch, size)``.

    Raises:
        ValueError: If it is no tensor, has no dimension, no entry, or a dtype other than float32
            and float64; with ``validate`` also if entries are not finite or, with ``positive``, not
            positive.
    """
    if not isinstance(given, Tensor):
        raise ValueError(f"{owner}: expected {name} to be a tensor, but got {given!r}.")
    shape = tuple(given.shape)
    if given.dtype not in _DTYPES:
        raise ValueError(
            f"{owner}: expected {name} of dtype float32 or float64, but got {given.dtype} "
            f"(shape {shape})."
        )
    if given.dim() == 0 or given.shape[-1] == 0:
        raise ValueError(
            f"{owner}: expected {name} of shape (*batch, size) with size at least 1, "
            f"but got shape {shape}."
        )
    if validate:
        _check_values(owner, name, given, positive=positive)
    return given


def _check_values(owner: str, label: str, given: Tensor, *, positive: bool) -> None:
    valid = given.isfinite() & (given > 0) if positive else given.isfinite()
    if not valid.all():
        index = tuple((~valid).nonzero()[0].tolist())
        wanted = "positive and finite" if positive else "finite"
        raise ValueError(
            f"{owner}: expected {label} to be {wanted}, but got {given[index].item()} at index "
            f"{index} of shape {tuple(given.shape)}."
        )


def check_match(owner: str, sizes: Any, assignment: Any) -> None:
    """Sizes and scores must be of one kind.

    Raises:
        ValueError: If their dtypes or devices or their numbers of elements differ.
    """
    for what in ("dtype", "device"):
        of_sizes, of_s = getattr(sizes, what), getattr(assignment.log_s, what)
        if of_sizes != of_s:
            raise ValueError(
                f"{owner}: expected sizes (or their weights) and scores of the same {what}, but "
                f"got {of_sizes} for sizes and {of_s} for s."
            )
    if sizes.total_count != assignment.num_elements:
        raise ValueError(
            f"{owner}: expected sizes that add up to the number of scores, but got total_count "
            f"{sizes.total_count} and {assignment.num_elements} scores."
        )
    rows = assignment.log_s.shape[-2:-1] if not assignment.has_ranks else sizes.event_shape
    if rows != sizes.event_shape:
        raise ValueError(
            f"{owner}: expected a row of scores for each of {sizes.event_shape[0]} subsets, "
            f"but got {rows[0]}."
        )


def checked_temperature(owner: str, temperature: Tensor | float, validate: bool) -> Tensor | float:
    """The temperature, cut off from differentiation.

    Raises:
        ValueError: If it is no number or tensor without dimensions, or not positive and finite;
            the value of a tensor is looked at with ``validate`` alone.
    """
    if isinstance(temperature, Tensor) and (temperature.dim() > 0 or not validate):
        valid = temperature.dim() == 0
    else:
        valid = isinstance(temperature, Tensor | Real) and 0 < float(temperature) < math.inf
    if not valid:
        raise ValueError(
            f"{owner}: expected temperature to be a positive finite number, but got {temperature}."
        )
    return temperature.detach() if isinstance(temperature, Tensor) else temperature
