# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""How many numbers are worked on at a time, where all of them would not fit."""

from __future__ import annotations

from torch import Tensor

__all__ = ["at_once"]

_ON_A_GPU = 1 << 22


def at_once(on_a_cpu: int, tensor: Tensor) -> int:
    """As many numbers as a CPU's cache holds; on a GPU as many as outlast the launch of a kernel.

    Args:
        on_a_cpu: Their number on a CPU, where calls are cheap and memory is far away.
        tensor: Tells the device.

    Example:
        >>> import torch
        >>> at_once(1000, torch.zeros(1)), at_once(1000, torch.zeros(1, device="meta"))
        (1000, 4194304)
    """
    return on_a_cpu if tensor.device.type == "cpu" else _ON_A_GPU
