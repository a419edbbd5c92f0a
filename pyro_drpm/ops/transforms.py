# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Transforms of functions, :mod:`torch.func`."""

from __future__ import annotations

import torch

__all__ = ["transformed"]


def transformed() -> bool:
    """Whether a transform such as ``torch.func.grad`` or ``torch.func.vmap`` is under way.

    Then a plain formula takes the place of a :class:`torch.autograd.Function` that has been written
    for speed: all transforms know the operations that it consists of, in any order and number.
    """
    # Private, but what torch's own ``Function.apply`` asks.
    active: bool = torch._C._are_functorch_transforms_active()
    return active
