# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Pairs of views that the tests of DRPM-VAE have in common."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

__all__ = ["B", "D", "both_directions", "random_indicators"]

B, D = 3, 4  # pairs and dims


def random_indicators(*shape: int) -> Tensor:
    return torch.randint(2, shape).double()


def both_directions(mean: Tensor, variance: Tensor) -> Tensor:
    """Mean of both KL divergences between the views of one pair, ``(2, d)`` each."""
    first, second = (Normal(m, v.sqrt()) for m, v in zip(mean, variance, strict=True))
    return 0.5 * (kl_divergence(first, second) + kl_divergence(second, first))
