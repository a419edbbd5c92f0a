# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Standard Gumbel noise."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["gumbel"]


def gumbel(shape: torch.Size, device: torch.device) -> Tensor:
    """Standard Gumbel noise in float64, fine enough for ties to be out of the question."""
    return -torch.ops.aten.exponential(torch.empty(shape, dtype=torch.float64, device=device)).log()
