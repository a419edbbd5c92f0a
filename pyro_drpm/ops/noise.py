# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Standard Gumbel noise."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_drpm.ops.transforms import transformed

__all__ = ["gumbel"]


def gumbel(shape: torch.Size, device: torch.device) -> Tensor:
    """Standard Gumbel noise in float64, fine enough for ties to be out of the question."""
    if transformed():  # torch.func.vmap draws different noise for each, but not in place
        level = 1 - torch.rand(shape, dtype=torch.float64, device=device)
        return -(-level.log()).log()
    return -torch.empty(shape, dtype=torch.float64, device=device).exponential_().log()
