# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Functions that tensor subclasses see as a whole."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

__all__ = ["overridable"]

P = ParamSpec("P")
T = TypeVar("T")


def overridable(function: Callable[P, T]) -> Callable[P, T]:
    """Makes a function take part in torch's ``__torch_function__`` protocol.

    For functions that apply a :class:`torch.autograd.Function`, which is no part of it: a subclass
    that wraps every result, as Pyro's provenance tracking does, would wrap those inside and so
    lose the gradient without a word.

    Args:
        function: Takes the tensors as positional arguments.
    """

    @functools.wraps(function)
    def dispatched(*args: P.args, **kwargs: P.kwargs) -> T:
        tensors = tuple(arg for arg in args if isinstance(arg, Tensor))
        if has_torch_function(tensors):
            overridden: T = handle_torch_function(dispatched, tensors, *args, **kwargs)
            return overridden
        return function(*args, **kwargs)

    return dispatched
