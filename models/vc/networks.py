# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Encoder and decoder of the clustering models: fully connected networks."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

__all__ = ["Autoencoder", "Encoder", "GaussianHeads", "encode", "hidden_layers"]


def hidden_layers(*widths: int) -> nn.Sequential:
    """Stack linear layers of the given widths, each followed by a ReLU."""
    pairs = itertools.pairwise(widths)
    return nn.Sequential(*(nn.Sequential(nn.Linear(a, b), nn.ReLU()) for a, b in pairs))


class GaussianHeads(nn.Module):
    """Linear heads from features to the mean and the scale of ``q(z | x)``.

    Args:
        num_features: Width ``f`` of the features.
        latent_dim: Dimension ``l`` of the latent space.
    """

    def __init__(self, num_features: int, latent_dim: int) -> None:
        super().__init__()
        self.loc = nn.Linear(num_features, latent_dim)
        self.log_scale = nn.Linear(num_features, latent_dim)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Map features ``(n, f)`` to mean and scale, both ``(n, l)``."""
        return self.loc(features), self.log_scale(features).exp()

    def reset_scale(self, log_scale: float) -> None:
        """Make the scale the same for all features until it is trained."""
        nn.init.zeros_(self.log_scale.weight)
        nn.init.constant_(self.log_scale.bias, log_scale)


class Encoder(nn.Module):
    """The map from images to ``q(z | x)``: hidden layers, which may be frozen, and the heads."""

    def __init__(self, num_pixels: int, widths: tuple[int, ...], latent_dim: int) -> None:
        super().__init__()
        self.hidden = nn.Sequential(nn.Flatten(), hidden_layers(num_pixels, *widths))
        self.heads = GaussianHeads(widths[-1], latent_dim)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map images ``(n, 1, H, W)`` to mean and scale, both ``(n, l)``."""
        return self.heads(self.hidden(images))


class Autoencoder(nn.Module):
    """An encoder and the decoder that mirrors it.

    Args:
        num_pixels: Number of pixels of an image, ``H * W``.
        widths: Widths of the encoder's hidden layers; the decoder takes them in reverse.
        latent_dim: Dimension ``l`` of the latent space.
    """

    def __init__(self, num_pixels: int, widths: tuple[int, ...], latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.encoder = Encoder(num_pixels, widths, latent_dim)
        self.decoder = nn.Sequential(  # logits of the pixels, (n, H * W)
            hidden_layers(latent_dim, *reversed(widths)), nn.Linear(widths[0], num_pixels)
        )


@torch.no_grad()
def encode(network: nn.Module, images: Tensor, batch_size: int = 4096) -> Tensor:
    """Apply a network to many images, batch by batch.

    A network that returns a tuple, as the encoder does, gives its first entry: the mean.

    Returns:
        The outputs of all images, on the device of ``images``.
    """
    device = next(network.parameters()).device
    outputs = (network(batch.to(device)) for batch in images.split(batch_size))
    first = (output[0] if isinstance(output, tuple) else output for output in outputs)
    return torch.cat([output.to(images.device) for output in first])
