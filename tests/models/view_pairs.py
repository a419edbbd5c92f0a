# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Pairs of views, and what they share, that the tests of DRPM-VAE have in common."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from pyro import poutine
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from models.vae.config import PRESETS
from models.vae.sharing import Method
from models.vae.train import make_sharing

__all__ = [
    "LEARNED_SCORES",
    "B",
    "D",
    "both_directions",
    "new_sharing",
    "random_indicators",
    "sharing_of",
    "sites",
]

B, D = 3, 4  # pairs and dims
LEARNED_SCORES: dict[str, Any] = {"score_scale": 2.0, "prior_scores": "learned"}


def random_indicators(*shape: int) -> Tensor:
    return torch.randint(2, shape).double()


def both_directions(mean: Tensor, variance: Tensor) -> Tensor:
    """Mean of both KL divergences between the views of one pair, ``(2, d)`` each."""
    first, second = (Normal(m, v.sqrt()) for m, v in zip(mean, variance, strict=True))
    return 0.5 * (kl_divergence(first, second) + kl_divergence(second, first))


def new_sharing(method: Method, **options: Any) -> Any:
    """The paper's settings but for the options, before training."""
    config = dataclasses.replace(PRESETS["mpi3d"], latent_dim=D, size_inputs="log-divergence")
    return make_sharing(dataclasses.replace(config, **options), method)


def sharing_of(method: Method, **options: Any) -> Any:
    """The same with random parameters in float64."""
    sharing = new_sharing(method, **options).double()
    for name, parameter in sharing.named_parameters():
        # Log-scores of the prior come in units of 30.
        nn.init.normal_(parameter, std=1 / 30 if name == "scores" else 0.5)
    return sharing


def sites(fn: Any, *args: Tensor) -> Any:
    return poutine.trace(fn).get_trace(*args).nodes
