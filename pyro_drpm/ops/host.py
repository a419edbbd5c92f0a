# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Whether the host may look at values, to choose the cheapest way to a result."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["is_at_hand"]


def is_at_hand(tensor: Tensor) -> bool:
    """Whether a value can be looked at without waiting for a device and without being recorded.

    A graph that is compiled, traced or captured would keep for ever what was chosen once.

    Example:
        >>> is_at_hand(torch.zeros(2)), is_at_hand(torch.zeros(2, device="meta"))
        (True, False)
    """
    recorded = torch.compiler.is_compiling() or torch.jit.is_tracing()
    if recorded or torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        return False
    return tensor.device.type == "cpu"
