# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Backward passes that can be differentiated again."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["differentiable_gradients"]


def differentiable_gradients(
    function: Callable[..., Tensor], inputs: tuple[Tensor | None, ...], grad: Tensor
) -> tuple[Tensor | None, ...]:
    """Gradients of a function, themselves differentiable, for a backward pass.

    They are partial derivatives: an input may depend on another in the graph around the function,
    and what comes of that is left to that graph.

    Args:
        function: Made of differentiable operations.
        inputs: Its arguments; none for those that are left out.
        grad: The gradient with respect to its value.

    Returns:
        One gradient for each input that requires one, none for the others.
    """
    # Views are tensors of their own, on which no other input depends.
    views = [None if x is None else x.view_as(x) for x in inputs]
    wanted = [x for x in views if x is not None and x.requires_grad]
    found = iter(torch.autograd.grad(function(*views), wanted, grad, create_graph=True))
    return tuple(next(found) if x is not None and x.requires_grad else None for x in views)
