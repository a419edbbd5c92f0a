# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Functions that mixed precision leaves alone."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

__all__ = ["full_precision"]

P = ParamSpec("P")
T = TypeVar("T")


def full_precision(function: Callable[P, T]) -> Callable[P, T]:
    """Makes a function compute as if :class:`torch.autocast` were switched off.

    For functions that multiply float32 matrices: in bfloat16 a sum is right to three digits, and
    256 is the last integer before which none is left out.

    Args:
        function: Takes a tensor as a positional argument; autocast is switched off for the kind of
            device that the first one is on.
    """

    @functools.wraps(function)
    def precise(*args: P.args, **kwargs: P.kwargs) -> T:
        device = next(arg for arg in args if isinstance(arg, Tensor)).device.type
        if device == "meta":  # which knows no autocast
            return function(*args, **kwargs)
        with torch.autocast(device, enabled=False):
            return function(*args, **kwargs)

    return precise
