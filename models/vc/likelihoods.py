# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Laws of what is observed of an item, given what the decoder makes of its latent variable."""

from __future__ import annotations

from typing import Literal

import pyro.distributions as dist
import torch
from torch import Tensor, nn

__all__ = ["LIKELIHOODS", "LikelihoodName", "NormalLikelihood", "PixelLikelihood"]

LikelihoodName = Literal["pixels", "normal"]

_LEAST_SCALE = 0.05


class PixelLikelihood(nn.Module):
    """Grey values or colours in ``[0, 1]``, as means of independent Bernoulli variables.

    Args:
        num_values: Number ``D`` of values of an item.
    """

    def __init__(self, num_values: int) -> None:
        super().__init__()
        self.num_values = num_values

    def forward(self, decoded: Tensor) -> dist.Independent:
        """Give the law of values of shape ``(*, D)`` for their logits, of the same shape."""
        # A validated Bernoulli would refuse values between 0 and 1.
        return dist.Bernoulli(logits=decoded, validate_args=False).to_event(1)

    def fit_to(self, errors: Tensor) -> None:
        """There is nothing to fit."""


class NormalLikelihood(nn.Module):
    """Standardised features with independent normal noise, of a scale for each that is learned.

    The scale is at least 0.05: where the latent space has as many dimensions as there are features,
    the density would have no bound otherwise.

    Args:
        num_values: Number ``D`` of features.
    """

    def __init__(self, num_values: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(num_values))

    def forward(self, decoded: Tensor) -> dist.Independent:
        """Give the law of features of shape ``(*, D)`` for their means, of the same shape."""
        return dist.Normal(decoded, _LEAST_SCALE + self.log_scale.exp()).to_event(1)

    @torch.no_grad()
    def fit_to(self, errors: Tensor) -> None:
        """Take over the scale of errors of shape ``(n, D)``."""
        self.log_scale.copy_((errors.square().mean(0).sqrt() - _LEAST_SCALE).clamp(min=0.01).log())


LIKELIHOODS: dict[LikelihoodName, type[PixelLikelihood] | type[NormalLikelihood]] = {
    "pixels": PixelLikelihood,
    "normal": NormalLikelihood,
}
