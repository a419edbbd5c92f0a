# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Checks of the distributions' arguments."""

from __future__ import annotations

import math
from numbers import Real

import torch
from torch import Tensor

__all__ = ["check_match", "checked_temperature", "log_weights"]

_DTYPES = (torch.float32, torch.float64)


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
    given, label = (log_value, f"log_{name}") if value is None else (value, name)
    if not isinstance(given, Tensor):
        raise ValueError(f"{owner}: expected {label} to be a tensor, but got {given!r}.")
    shape = tuple(given.shape)
    if given.dtype not in _DTYPES:
        raise ValueError(
            f"{owner}: expected {label} of dtype float32 or float64, but got {given.dtype} "
            f"(shape {shape})."
        )
    if given.dim() == 0 or given.shape[-1] == 0:
        raise ValueError(
            f"{owner}: expected {label} of shape (*batch, size) with size at least 1, "
            f"but got shape {shape}."
        )
    if validate:
        _check_values(owner, label, given, positive=value is not None)
    return given if value is None else given.log()


def _check_values(owner: str, label: str, given: Tensor, *, positive: bool) -> None:
    valid = given.isfinite() & (given > 0) if positive else given.isfinite()
    if not valid.all():
        index = tuple((~valid).nonzero()[0].tolist())
        wanted = "positive and finite" if positive else "finite"
        raise ValueError(
            f"{owner}: expected {label} to be {wanted}, but got {given[index].item()} at index "
            f"{index} of shape {tuple(given.shape)}."
        )


def check_match(owner: str, log_omega: Tensor, log_s: Tensor) -> None:
    """Weights and scores must be of one kind.

    Raises:
        ValueError: If their dtypes or devices differ.
    """
    for what in ("dtype", "device"):
        of_omega, of_s = getattr(log_omega, what), getattr(log_s, what)
        if of_omega != of_s:
            raise ValueError(
                f"{owner}: expected weights and scores of the same {what}, but got {of_omega} for "
                f"omega and {of_s} for s."
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
