# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Encoder and decoder of the image pairs: the convolutional networks of ``disentanglement_lib``.

Images whose height or width is no multiple of 16 get rows and columns of zeros for the encoder, at
the bottom and at the right, which the decoder makes and cuts off again.
"""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["Decoder", "Encoder"]

_STRIDES = 16  # four layers halve or double the image
_MAX_LOG_VARIANCE = 10.0


class Encoder(nn.Module):
    """The map from an image to the mean and the variance of ``q(z | x)``.

    Args:
        image_shape: Channels, height and width.
        width: Channels of the first two layers; the other two have twice as many.
        num_features: Width of the fully connected layer.
        latent_dim: Dimension ``d`` of the latent space.
    """

    def __init__(
        self, image_shape: tuple[int, int, int], width: int, num_features: int, latent_dim: int
    ) -> None:
        super().__init__()
        channels, height, columns = _reduced(image_shape)
        self.padding = nn.ZeroPad2d((0, -image_shape[2] % _STRIDES, 0, -image_shape[1] % _STRIDES))
        self.layers = nn.Sequential(
            *(nn.Conv2d(channels, width, 4, stride=2, padding=1), nn.ReLU()),
            *(nn.Conv2d(width, width, 4, stride=2, padding=1), nn.ReLU()),
            *(nn.Conv2d(width, 2 * width, 2, stride=2), nn.ReLU()),
            *(nn.Conv2d(2 * width, 2 * width, 2, stride=2), nn.ReLU()),
            nn.Flatten(),
            *(nn.Linear(2 * width * height * columns, num_features), nn.ReLU()),
            nn.Linear(num_features, 2 * latent_dim),
        )
        _initialize(self)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map images ``(*, C, H, W)`` to mean and variance, ``(*, d)`` each."""
        batch_shape = images.shape[:-3]
        heads = self.layers(self.padding(images.flatten(0, -4))).unflatten(0, batch_shape)
        mean, log_variance = heads.chunk(2, -1)
        # A first step that overshoots would otherwise never come back.
        return mean, log_variance.clamp(-_MAX_LOG_VARIANCE, _MAX_LOG_VARIANCE).exp()


class Decoder(nn.Module):
    """The map from a latent variable to the logits of the pixels.

    Args:
        latent_dim: Dimension ``d`` of the latent space.
        num_features: Width of the first fully connected layer.
        width: Channels of the last two hidden layers; the others have twice as many.
        image_shape: Channels, height and width.
    """

    def __init__(
        self, latent_dim: int, num_features: int, width: int, image_shape: tuple[int, int, int]
    ) -> None:
        super().__init__()
        channels, height, columns = _reduced(image_shape)
        self.image_size = image_shape[1:]
        smallest = (2 * width, height, columns)
        self.layers = nn.Sequential(
            *(nn.Linear(latent_dim, num_features), nn.ReLU()),
            *(nn.Linear(num_features, 2 * width * height * columns), nn.ReLU()),
            nn.Unflatten(-1, smallest),
            *(_doubling(2 * width, 2 * width), nn.ReLU()),
            *(_doubling(2 * width, width), nn.ReLU()),
            *(_doubling(width, width), nn.ReLU()),
            _doubling(width, channels),
        )
        _initialize(self)

    def forward(self, z: Tensor) -> Tensor:
        """Map latent variables ``(*, d)`` to logits ``(*, C, H, W)``."""
        height, width = self.image_size
        return self.layers(z.flatten(0, -2)).unflatten(0, z.shape[:-1])[..., :height, :width]


def _doubling(channels_in: int, channels_out: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(channels_in, channels_out, 4, stride=2, padding=1)


def _reduced(image_shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Channels, and height and width behind all layers."""
    channels, height, width = image_shape
    return channels, -(-height // _STRIDES), -(-width // _STRIDES)


def _initialize(network: nn.Module) -> None:
    """Initialise as ``disentanglement_lib`` does: PyTorch's default halves signals per layer."""
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
