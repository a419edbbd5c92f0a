# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Encoder and decoder of the clustering models: fully connected networks, or linear maps."""

from __future__ import annotations

import itertools
from typing import Literal, cast

import pyro.distributions as dist
import torch
from sklearn.decomposition import PCA
from torch import Tensor, nn

from models.vc.likelihoods import LIKELIHOODS, LikelihoodName

__all__ = [
    "Autoencoder",
    "Decoder",
    "Encoder",
    "GaussianHeads",
    "Layers",
    "Precision",
    "encode",
    "hidden_layers",
]

Precision = Literal["float32", "bfloat16"]


class Layers(nn.Sequential):
    """Layers one after the other, whose products of matrices may be less precise than all else.

    Inputs, outputs and weights have the usual precision. Where a processor multiplies bfloat16
    numbers, a network of wide layers trains several times as fast.

    Args:
        layers: The layers, in order.
        precision: Of the products.
    """

    def __init__(self, *layers: nn.Module, precision: Precision = "float32") -> None:
        super().__init__(*layers)
        self.precision = precision

    def forward(self, inputs: Tensor) -> Tensor:
        """Apply all layers."""
        outputs: Tensor
        if self.precision == "float32":
            outputs = super().forward(inputs)
            return outputs
        with torch.autocast(inputs.device.type, torch.bfloat16):
            outputs = super().forward(inputs)
        return outputs.to(inputs.dtype)


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
    """The map from items to ``q(z | x)``: hidden layers, which may be frozen, and the heads."""

    def __init__(
        self, num_values: int, widths: tuple[int, ...], latent_dim: int, precision: Precision
    ) -> None:
        super().__init__()
        hidden = hidden_layers(num_values, *widths)
        self.hidden = Layers(nn.Flatten(), hidden, precision=precision)
        self.heads = GaussianHeads((num_values, *widths)[-1], latent_dim)

    def forward(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """Map items ``(n, *shape)`` to mean and scale, both ``(n, l)``."""
        return self.heads(self.hidden(items))


class Decoder(nn.Module):
    """The map from latent variables to the law of what is observed.

    Args:
        latent_dim: Dimension ``l`` of the latent space.
        widths: Widths of the hidden layers.
        num_values: Number ``D`` of values of an item.
        likelihood: Name of the law.
        precision: Of the products of matrices.
    """

    def __init__(
        self,
        latent_dim: int,
        widths: tuple[int, ...],
        num_values: int,
        likelihood: LikelihoodName,
        precision: Precision,
    ) -> None:
        super().__init__()
        output = nn.Linear((latent_dim, *widths)[-1], num_values)
        self.layers = Layers(hidden_layers(latent_dim, *widths), output, precision=precision)
        self.likelihood = LIKELIHOODS[likelihood](num_values)

    @property
    def output(self) -> nn.Linear:
        """The last layer."""
        return cast(nn.Linear, self.layers[-1])

    def forward(self, z: Tensor) -> dist.Independent:
        """Give the law of the values ``(*, D)`` for latent variables ``(*, l)``."""
        return self.likelihood(self.layers(z))


class Autoencoder(nn.Module):
    """An encoder and the decoder that mirrors it.

    Args:
        num_values: Number ``D`` of values of an item: pixels, times colours, or features.
        widths: Widths of the encoder's hidden layers; the decoder takes them in reverse. Without
            any, both are linear.
        latent_dim: Dimension ``l`` of the latent space.
        likelihood: Name of the law of the values.
        precision: Of the products of matrices in the hidden layers and those of the decoder.
    """

    def __init__(
        self,
        num_values: int,
        widths: tuple[int, ...],
        latent_dim: int,
        likelihood: LikelihoodName = "pixels",
        precision: Precision = "float32",
    ) -> None:
        super().__init__()
        self.latent_dim, self.precision = latent_dim, precision
        self.encoder = Encoder(num_values, widths, latent_dim, precision)
        self.decoder = Decoder(latent_dim, widths[::-1], num_values, likelihood, precision)

    @torch.no_grad()
    def set_to_components(self, items: Tensor) -> None:
        """Take the principal components of items, which a linear decoder reconstructs best from.

        Args:
            items: Shape ``(N, *shape)``, at least as many as the latent space has dimensions.
        """
        components = PCA(self.latent_dim).fit(items.flatten(1).double().numpy())
        axes, center = torch.as_tensor(components.components_), torch.as_tensor(components.mean_)
        self.encoder.heads.loc.weight.copy_(axes)
        self.encoder.heads.loc.bias.copy_(-axes @ center)
        self.decoder.output.weight.copy_(axes.mT)
        self.decoder.output.bias.copy_(center)

    @torch.no_grad()
    def reset_scales(self, items: Tensor, log_scale: float) -> None:
        """Make the scale of ``q(z | x)`` the same for all items, and fit the noise of the values.

        Args:
            items: Shape ``(N, *shape)``.
            log_scale: Logarithm of that scale.
        """
        self.encoder.heads.reset_scale(log_scale)
        errors = (
            batch.flatten(1) - self.decoder(self.encoder(batch)[0]).mean
            for batch in items.split(4096)
        )
        self.decoder.likelihood.fit_to(torch.cat(list(errors)))


@torch.no_grad()
def encode(network: nn.Module, items: Tensor, batch_size: int = 4096) -> Tensor:
    """Apply a network to many items, batch by batch.

    A network that returns a tuple, as the encoder does, gives its first entry: the mean.

    Returns:
        The outputs of all items, on the device of ``items``.
    """
    device = next(network.parameters()).device
    outputs = (network(batch.to(device)) for batch in items.split(batch_size))
    first = (output[0] if isinstance(output, tuple) else output for output in outputs)
    return torch.cat([output.to(items.device) for output in first])
