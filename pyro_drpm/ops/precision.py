# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Functions that keep the digits of their arguments, whatever surrounds them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

__all__ = ["full_precision", "product"]

P = ParamSpec("P")
T = TypeVar("T")


def full_precision(function: Callable[P, T]) -> Callable[P, T]:
    """Switches ``torch.autocast`` off inside a function.

    Autocast takes matrix products to 8 or 11 bits: labels above 256 and sums over many elements
    would be wrong. Products of float32 matrices lose as many with
    ``torch.set_float32_matmul_precision``: :func:`product` does not, nor do sums of products.

    Args:
        function: Takes at least one tensor as a positional argument.
    """

    @functools.wraps(function)
    def precise(*args: P.args, **kwargs: P.kwargs) -> T:
        device = next(arg.device.type for arg in args if isinstance(arg, Tensor))
        if device == "meta" or not torch.is_autocast_enabled(device):
            return function(*args, **kwargs)
        with torch.autocast(device, enabled=False):
            return function(*args, **kwargs)

    return precise


def product(a: Tensor, b: Tensor) -> Tensor:
    """``a @ b``, computed in float64, in the dtype of ``b``.

    Example:
        >>> product(torch.ones(1, 2), torch.ones(2, 1))
        tensor([[2.]])
    """
    return (a.double() @ b.double()).to(b.dtype)
