# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import chisquare
from torch import Tensor

from models.data import (
    DatasetName,
    ImageData,
    load_images,
    load_multi_task,
    make_multi_digits,
    multi_digits,
    multi_task_datasets,
)


def resized(image: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Interpolates the four pixels whose centres are nearest, in their common coordinates."""
    (old,) = set(image.shape)
    result = np.zeros((size, size))
    for row in range(size):
        for column in range(size):
            y = min(max((row + 0.5) * old / size - 0.5, 0), old - 1)
            x = min(max((column + 0.5) * old / size - 0.5, 0), old - 1)
            for i in range(math.floor(y), min(math.floor(y) + 2, old)):
                for j in range(math.floor(x), min(math.floor(x) + 2, old)):
                    weight = (1 - abs(y - i)) * (1 - abs(x - j))
                    result[row, column] += weight * image[i, j]
    return result


def merged(left: Tensor, right: Tensor) -> NDArray[np.float64]:
    canvas = np.zeros((36, 36))
    digits = [resized(digit[0].double().numpy(), 28) for digit in (left, right)]
    for row in range(28):
        for column in range(28):
            canvas[row, column] = digits[0][row, column]
    for row in range(28):
        for column in range(28):
            here = (row + 6, column + 6)
            canvas[here] = max(canvas[here], digits[1][row, column])
    return resized(canvas, 28)


def mnist_like(size: int = 28) -> ImageData:
    """Random images, whose numbers are their labels: those of the test set begin with 100."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(30, 1, size, size, generator=generator) ** 2
    labels = torch.cat([torch.arange(20), torch.arange(100, 110)])
    return ImageData("mnist", images[:20], labels[:20], images[20:], labels[20:])


def embedded() -> ImageData:
    """Some of scikit-learn's digits, labelled likewise."""
    data = load_images("digits")
    labels = torch.arange(20), torch.arange(100, 110)
    return ImageData("digits", data.train_images[:20], labels[0], data.test_images[:10], labels[1])


@pytest.mark.parametrize("chunk", [3, 1000])
@pytest.mark.parametrize("data", [mnist_like(), embedded()], ids=["28x28", "8x8"])
def test_geometry_is_that_of_the_slow_reference(
    data: ImageData, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multi_digits, "_CHUNK", chunk)
    pairs = make_multi_digits(data, 0.0, seed=0)
    for images, labels, digits, first in (
        (pairs.train_images, pairs.train_labels, data.train_images, 0),
        (pairs.test_images, pairs.test_labels, data.test_images, 100),
    ):
        assert images.dtype == torch.uint8
        assert images.shape == (len(digits), 1, 28, 28)
        for row in (0, 1, 7, len(digits) - 1):
            left, right = digits[labels[row] - first]
            expected = merged(left, right) * 255
            assert np.abs(images[row, 0].numpy() - expected).max() < 0.5 + 1e-3


def black_and_white(number: int) -> ImageData:
    """Images that are all black (label 0) or all white (label 1)."""
    labels = torch.arange(number) % 2
    images = labels.float()[:, None, None, None].expand(-1, 1, 28, 28)
    return ImageData("mnist", images, labels, images, labels)


# Pixels of the resized image that are interpolated within the left digit, or within the part of the
# right one that lies outside of the left one.
LEFT = np.s_[:, 0, :21, :21]
RIGHT = np.s_[:, 0, 22:26, 5:26]


@pytest.mark.parametrize("noise_ratio", [0.0, 0.3, 0.8, 1.0])
@pytest.mark.parametrize("split", ["train", "test"])
def test_noise_clears_that_share_of_the_right_digit_alone(noise_ratio: float, split: str) -> None:
    pairs = make_multi_digits(black_and_white(2000), noise_ratio, seed=0)
    images, labels = getattr(pairs, f"{split}_images"), getattr(pairs, f"{split}_labels")
    assert (images[labels[:, 0] == 1][LEFT] == 255).all()
    right = images[labels[:, 1] == 1][RIGHT].double() / 255
    assert right.mean().item() == pytest.approx(1 - noise_ratio, abs=0.005)
    assert (images[labels[:, 1] == 0][RIGHT] == 0).all()
    behind = images[(labels[:, 0] == 0) & (labels[:, 1] == 1)][:, 0, 5:21, 5:21].double() / 255
    assert behind.mean().item() == pytest.approx(1 - noise_ratio, abs=0.005)


def test_noise_is_drawn_for_each_pixel_of_each_image() -> None:
    pairs = make_multi_digits(black_and_white(2000), 0.5, seed=0)
    for images, labels in (
        (pairs.train_images, pairs.train_labels),
        (pairs.test_images, pairs.test_labels),
    ):
        right = images[labels[:, 1] == 1][RIGHT].double().flatten(1)
        assert len(right.unique(dim=0)) == len(right)
        # Far apart, so that no pixel of the canvas contributes to both.
        correlation = torch.corrcoef(right[:, [0, 4, 8, 12, 16]].T) - torch.eye(5)
        assert correlation.abs().max() < 0.15


def test_more_noise_clears_more_of_the_same_pixels() -> None:
    data = mnist_like()
    ratios = (0.0, 0.3, 0.31, 0.6, 1.0)
    images = [make_multi_digits(data, ratio, seed=0).train_images for ratio in ratios]
    for less, more in zip(images, images[1:], strict=False):
        assert (more <= less).all()
        assert (more < less).any()
    assert ((images[1] != images[2]).double().mean()) < 0.05


def test_pairs_do_not_depend_on_the_noise() -> None:
    data = mnist_like()
    first, *others = [make_multi_digits(data, ratio, seed=1) for ratio in (0.0, 0.3, 1.0)]
    for other in others:
        assert torch.equal(first.train_labels, other.train_labels)
        assert torch.equal(first.test_labels, other.test_labels)


def test_every_digit_is_left_once_and_meets_a_random_one_of_its_split() -> None:
    number = 40
    labels = torch.arange(number * 100) % number
    images = torch.zeros(len(labels), 1, 28, 28)
    data = ImageData("mnist", images, labels, images[:number], torch.arange(100, 100 + number))
    pairs = make_multi_digits(data, 0.0, seed=0)
    assert torch.equal(pairs.train_labels[:, 0], labels)
    assert torch.equal(pairs.test_labels[:, 0], data.test_labels)
    assert torch.isin(pairs.test_labels[:, 1], data.test_labels).all()
    partners = pairs.train_labels[:, 1]
    assert chisquare(partners.bincount(minlength=number)).pvalue > 1e-3
    assert chisquare((partners - labels).remainder(number).bincount()).pvalue > 1e-3
    # A permutation of the digits would have every label exactly so often.
    assert partners.bincount().unique().numel() > 1


def test_seed_decides_and_global_generators_stay_as_they_are() -> None:
    data = mnist_like()
    torch.manual_seed(3)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state(legacy=False)
    first, same, other = (make_multi_digits(data, 0.3, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), torch_state)
    np.testing.assert_equal(np.random.get_state(legacy=False), numpy_state)
    torch.manual_seed(4)
    again = make_multi_digits(data, 0.3, 1)
    for name in ("train_images", "train_labels", "test_images", "test_labels"):
        assert torch.equal(getattr(first, name), getattr(same, name))
        assert torch.equal(getattr(first, name), getattr(again, name))
    assert not torch.equal(first.train_labels, other.train_labels)
    assert not torch.equal(first.train_images, other.train_images)


def test_images_are_normalised_as_mnist_is() -> None:
    pairs = make_multi_digits(mnist_like(), 0.0, seed=0)
    before = pairs.train_images.clone()
    pixels = pairs.normalize(pairs.train_images)
    assert pixels.dtype == torch.float32
    expected = (before.double().numpy() / 255 - 0.1307) / 0.3081
    np.testing.assert_allclose(pixels, expected, atol=1e-6)
    assert torch.equal(pairs.train_images, before)


def test_tasks_are_named() -> None:
    pairs = make_multi_digits(embedded(), 0.0, seed=0)
    assert pairs.task_names == ("left", "right")
    assert pairs.num_classes == (10, 10)
    assert pairs.train_labels.dtype == pairs.test_labels.dtype == torch.int64


@pytest.mark.parametrize("noise_ratio", [-0.1, 1.1, math.nan])
def test_noise_ratio_is_checked(noise_ratio: float) -> None:
    message = f"noise_ratio must be a number from 0 to 1, but is {noise_ratio}"
    with pytest.raises(ValueError, match=message):
        make_multi_digits(embedded(), noise_ratio, seed=0)


def test_digits_are_loaded_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(name: DatasetName, data_dir: Path | None) -> ImageData:
        asked.append((name, data_dir))
        return mnist_like()

    monkeypatch.setattr(multi_task_datasets, "load_images", load)
    multi_task_datasets._multi_digits.cache_clear()
    found = load_multi_task("multi-mnist", Path("here"), noise_ratio=0.3, seed=2)
    expected = make_multi_digits(mnist_like(), 0.3, 2)
    assert torch.equal(found.train_images, expected.train_images)
    load_multi_task("multi-digits", noise_ratio=0.3, seed=2)
    assert asked == [("mnist", Path("here")), ("digits", None)]
    multi_task_datasets._multi_digits.cache_clear()


def test_last_pairs_are_kept() -> None:
    for noise_ratio, seed in ((0.4, 2), (0.3, 3)):
        first = load_multi_task("multi-digits", noise_ratio=0.3, seed=2)
        assert load_multi_task("multi-digits", seed=2, noise_ratio=0.3, num_tasks=4) is first
        other = load_multi_task("multi-digits", noise_ratio=noise_ratio, seed=seed)
        assert not torch.equal(other.train_images, first.train_images)
        assert load_multi_task("multi-digits", noise_ratio=0.3, seed=2) is not first


def test_unknown_dataset_is_quoted() -> None:
    with pytest.raises(ValueError, match="'multi-mnist', 'celeba'.*, but is 'office'"):
        load_multi_task("office")  # type: ignore[arg-type]
