# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Encoders and heads of the multi-task networks.

Dropout is that of the networks that the paper builds on (Sener and Koltun, NeurIPS 2018): each
entry of a mask is 0 or 1 with equal chance during training, and nothing is rescaled.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Head", "LeNetEncoder", "ResNetEncoder"]

_LENET_LEAST = 16  # pixels, of which one is left behind both convolutions


class LeNetEncoder(nn.Module):
    """Two convolutions and a fully connected layer, made for images ``(B, 1, 28, 28)``.

    Images that are smaller than 16 x 16 pixels get zeros around them.

    Args:
        num_features: Number ``n`` of neurons of the last layer.
        image_shape: Channels, height and width.
    """

    def __init__(self, num_features: int = 50, image_shape: tuple[int, ...] = (1, 28, 28)) -> None:
        super().__init__()
        channels, height, width = image_shape
        rows, columns = (max(0, _LENET_LEAST - size) for size in (height, width))
        self.padding = nn.ZeroPad2d((columns // 2, -(-columns // 2), rows // 2, -(-rows // 2)))
        self.conv1 = nn.Conv2d(channels, 10, 5)
        self.conv2 = nn.Conv2d(10, 20, 5)
        # Each convolution takes four rows and columns, each pooling every second.
        rows, columns = (((max(n, _LENET_LEAST) - 4) // 2 - 4) // 2 for n in (height, width))
        self.linear = nn.Linear(20 * rows * columns, num_features)

    def forward(self, images: Tensor) -> Tensor:
        """Map images to features ``(B, n)``, none of them negative."""
        hidden = F.max_pool2d(self.conv1(self.padding(images)), 2).relu()
        hidden = self.conv2(hidden)
        if self.training:
            # Whole channels, the same ones for the batch.
            hidden = hidden * _mask(hidden.new_empty(hidden.shape[1], 1, 1))
        hidden = F.max_pool2d(hidden, 2).relu()
        return self.linear(hidden.flatten(1)).relu()


class Head(nn.Module):
    """Two fully connected layers from features to the log-probabilities of a task's classes.

    Args:
        num_features: Number ``n`` of neurons that it reads.
        num_classes: Number ``C`` of classes.
    """

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(num_features, num_features)
        self.output = nn.Linear(num_features, num_classes)

    def forward(self, features: Tensor) -> Tensor:
        """Map features ``(B, n)`` to log-probabilities ``(B, C)``."""
        hidden = self.hidden(features).relu()
        if self.training:
            hidden = hidden * _mask(hidden)
        return self.output(hidden).log_softmax(-1)


class ResNetEncoder(nn.Module):
    """A ResNet-18 made for images ``(B, 3, 64, 64)``.

    There is no stride and no pooling before the first block, and 2 x 2 features of each channel are
    left in the end, whatever the size of the images is.

    Args:
        num_features: Number ``n`` of neurons of the last layer.
        channels: Number of colours.

    References:
        He, K., Zhang, X., Ren, S., Sun, J.: Deep residual learning for image recognition. CVPR
        2016.
    """

    def __init__(self, num_features: int = 64, channels: int = 3) -> None:
        super().__init__()
        widths = (64, 64, 128, 256, 512)
        self.layers = nn.Sequential(
            *(_conv(channels, 64), nn.BatchNorm2d(64), nn.ReLU()),
            *(
                block
                for before, width in zip(widths, widths[1:], strict=False)
                for block in (
                    _ResidualBlock(before, width, stride=1 if before == width else 2),
                    _ResidualBlock(width, width),
                )
            ),
            *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(512 * 4, num_features)),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Map images to features ``(B, n)``."""
        return self.layers(images)


class _ResidualBlock(nn.Module):
    def __init__(self, before: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            *(_conv(before, width, stride), nn.BatchNorm2d(width), nn.ReLU()),
            *(_conv(width, width), nn.BatchNorm2d(width)),
        )
        self.shortcut = (
            nn.Identity()
            if before == width
            else nn.Sequential(
                nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )
        )

    def forward(self, features: Tensor) -> Tensor:
        return (self.residual(features) + self.shortcut(features)).relu()


def _conv(before: int, width: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(before, width, 3, stride, padding=1, bias=False)


def _mask(like: Tensor) -> Tensor:
    return torch.empty_like(like).bernoulli_(0.5)
