# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Images with known generative factors, drawn in pairs that share some of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

__all__ = ["FactorImages", "ImagePair", "SharedFactors"]

SharedFactors = Literal["first", "random"]


class ImagePair(NamedTuple):
    """A batch of pairs of images.

    Attributes:
        images: Pixels in ``[0, 1]``, shape ``(B, 2, C, H, W)``.
        factors: Values of the generative factors, int64, shape ``(B, 2, F)``.
        shared: Which factors both images share, bool, shape ``(B, F)``.
    """

    images: Tensor  # (B, 2, C, H, W)
    factors: Tensor  # (B, 2, F)
    shared: Tensor  # (B, F)


class FactorImages(ABC):
    """Images that are a function of independent factors, each uniform on finitely many values.

    Subclasses set the attributes and define :meth:`images`.

    Attributes:
        factor_names: One name per factor.
        factor_sizes: Number of values of each factor, at least 2.
        image_shape: Channels, height and width.
        device: Where factors and images are made.
    """

    factor_names: tuple[str, ...]
    factor_sizes: tuple[int, ...]
    image_shape: tuple[int, int, int]
    device: torch.device

    @abstractmethod
    def images(self, factors: Tensor) -> Tensor:
        """Images of given factors.

        Args:
            factors: Values counted from 0, int64, shape ``(B, F)``.

        Returns:
            Pixels in ``[0, 1]``, float32, shape ``(B, C, H, W)``.
        """

    def sample_pair(
        self, n_shared: int, batch_size: int, shared_factors: SharedFactors = "first"
    ) -> ImagePair:
        """Draw pairs of images that have exactly ``n_shared`` factors in common.

        Both images of a pair are uniform on all images. The other factors take different values in
        the second image: an equal one would be one more that is shared.

        Args:
            n_shared: Number of shared factors.
            batch_size: Number ``B`` of pairs.
            shared_factors: Which ones are shared: always the first in the order of the dataset, or
                another random subset for each pair. The paper does not say. Its table 2 has an
                accuracy of 0.01 for the independent factors of mpi3d at ``n_shared`` 5, as it must
                be if these are the last two, the axes of 40 positions each, which no linear
                classifier reads off, and could not be if they were drawn at random.

        Returns:
            The images with their factors, and which of these are shared.

        Raises:
            ValueError: If there are fewer than ``n_shared`` factors, or ``shared_factors`` is
                neither of the two.
        """
        if not 0 <= n_shared <= len(self.factor_sizes):
            raise ValueError(
                f"n_shared must be a number from 0 to {len(self.factor_sizes)}, the number of "
                f"factors, but is {n_shared}"
            )
        if shared_factors not in get_args(SharedFactors):
            raise ValueError(
                f"shared_factors must be one of {', '.join(get_args(SharedFactors))}, but is "
                f"{shared_factors!r}"
            )
        sizes = self._sizes_on_device.expand(batch_size, -1)
        first = _uniform(sizes)
        other = (first + 1 + _uniform(sizes - 1)) % sizes
        ranks = torch.arange(sizes.shape[-1], device=self.device).expand_as(sizes)
        if shared_factors == "random":
            ranks = torch.rand(sizes.shape, device=self.device).argsort(-1)
        shared = ranks < n_shared
        factors = torch.stack([first, torch.where(shared, first, other)], 1)
        images = self.images(factors.flatten(0, 1))
        return ImagePair(images.unflatten(0, (batch_size, 2)), factors, shared)

    @cached_property
    def _sizes_on_device(self) -> Tensor:
        """The sizes of the factors; copied once, as the device would be waited for each time."""
        return torch.tensor(self.factor_sizes, device=self.device)


def _uniform(sizes: Tensor) -> Tensor:
    """Integers that are uniform on ``0, ..., size - 1``."""
    return (torch.rand(sizes.shape, device=sizes.device) * sizes).long()
