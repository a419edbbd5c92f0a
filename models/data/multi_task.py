# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Images with the labels of several classification tasks."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

__all__ = ["MultiTaskData"]


@dataclass(frozen=True, eq=False)
class MultiTaskData:
    """A training and a test set of images with a label for each of ``T`` tasks.

    Pixels stay bytes, a quarter of the memory, until :meth:`normalize` makes a batch of them the
    input of a network.

    Attributes:
        train_images: uint8, shape ``(N, C, H, W)``.
        train_labels: Classes counted from 0, int64, shape ``(N, T)``.
        test_images: uint8, shape ``(M, C, H, W)``.
        test_labels: Classes counted from 0, int64, shape ``(M, T)``.
        task_names: One name per task.
        num_classes: Number of classes of each task.
        mean: What :meth:`normalize` subtracts from pixels in ``[0, 1]``.
        std: What it divides them by then.
    """

    train_images: Tensor  # (N, C, H, W)
    train_labels: Tensor  # (N, T)
    test_images: Tensor  # (M, C, H, W)
    test_labels: Tensor  # (M, T)
    task_names: tuple[str, ...]
    num_classes: tuple[int, ...]
    mean: float
    std: float

    def normalize(self, images: Tensor) -> Tensor:
        """Make images the input of a network.

        Args:
            images: Some of the images, uint8, any shape.

        Returns:
            ``(images / 255 - mean) / std``, float32, the same shape.
        """
        return images.float().div_(255).sub_(self.mean).div_(self.std)
