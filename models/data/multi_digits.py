# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""noisyMultiMNIST: two overlapping digits per image, one of them noisy."""

from __future__ import annotations

import torch
from torch import Generator, Tensor
from torch.nn.functional import interpolate

from models.data.images import ImageData
from models.data.multi_task import MultiTaskData

__all__ = ["make_multi_digits"]

_SIZE = 28
_CANVAS = 36
_SHIFT = 6
# Of MNIST's training pixels, as they are commonly rounded.
_MEAN, _STD = 0.1307, 0.3081
# Images that are made at once.
_CHUNK = 4096


def make_multi_digits(data: ImageData, noise_ratio: float, seed: int) -> MultiTaskData:
    """Merge each digit with a random one to an image of two tasks: which digits it shows.

    The first digit of an image lies at the upper left of a canvas of 36 x 36 pixels, in its rows
    and columns 0 to 27; the second, drawn uniformly from the same split, in those from 6 to 33; the
    brighter pixel wins where they overlap (Sabour et al., NeurIPS 2017; Sener and Koltun, NeurIPS
    2018). Before that, each pixel of the second is set to 0 with probability ``noise_ratio``, in
    both splits alike, which makes the right task as hard as one likes (section 5.3 of the paper).

    The canvas is resized to 28 x 28 pixels by plain bilinear interpolation of the four nearest
    pixels, without antialiasing, where the corners of both images coincide but not the centres of
    their corner pixels (``align_corners=False``). Digits of other sizes, such as the 8 x 8 ones of
    scikit-learn, are resized to 28 x 28 pixels like that first, so that all is the same from then
    on, the noise included.

    A seed pairs the same digits whatever the noise is, and more noise only clears more pixels:
    accuracies at two ratios differ by the noise alone.

    Args:
        data: Digits, or other images of ten classes.
        noise_ratio: Probability that a pixel of the right digit is cleared, ``alpha`` in the paper.
        seed: Of the pairs and the noise. The global generators are left alone.

    Returns:
        An image for each digit, which is its left one, in the order of ``data``; images are
        1 x 28 x 28. The tasks are ``left`` and ``right``.

    Raises:
        ValueError: If ``noise_ratio`` is no probability.

    Example:
        >>> from models.data import load_images
        >>> data = make_multi_digits(load_images("digits"), noise_ratio=0.3, seed=0)
        >>> data.train_images.shape, data.train_labels.shape
        (torch.Size([1257, 1, 28, 28]), torch.Size([1257, 2]))
    """
    if not 0 <= noise_ratio <= 1:
        raise ValueError(f"noise_ratio must be a number from 0 to 1, but is {noise_ratio}")
    generator = Generator().manual_seed(seed)
    return MultiTaskData(
        *_merge_pairs(data.train_images, data.train_labels, noise_ratio, generator),
        *_merge_pairs(data.test_images, data.test_labels, noise_ratio, generator),
        task_names=("left", "right"),
        num_classes=(10, 10),
        mean=_MEAN,
        std=_STD,
    )


def _merge_pairs(
    digits: Tensor, labels: Tensor, noise_ratio: float, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Images and labels of one split."""
    partners = torch.randint(len(digits), (len(digits),), generator=generator)
    images = torch.empty(len(digits), 1, _SIZE, _SIZE, dtype=torch.uint8)
    pieces = (tensor.split(_CHUNK) for tensor in (images, digits, partners))
    for merged, left, partner in zip(*pieces, strict=True):
        kept = torch.rand(merged.shape, generator=generator) >= noise_ratio
        merged.copy_(_merge(_resize(left), _resize(digits[partner]) * kept).mul_(255).round_())
    return images, torch.stack([labels, labels[partners]], dim=1)


def _merge(left: Tensor, right: Tensor) -> Tensor:
    canvas = left.new_zeros(len(left), 1, _CANVAS, _CANVAS)
    canvas[..., :_SIZE, :_SIZE] = left
    end = _SHIFT + _SIZE
    overlap = canvas[..., _SHIFT:end, _SHIFT:end]
    torch.maximum(overlap, right, out=overlap)
    return _resize(canvas)


def _resize(images: Tensor) -> Tensor:
    return interpolate(images, (_SIZE, _SIZE), mode="bilinear", align_corners=False)
