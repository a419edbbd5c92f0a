# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.data.scene import SceneImages

COLOR, SHAPE, SIZE, CAMERA, BACKGROUND, HORIZONTAL, VERTICAL = range(7)
MIDDLE = (0, 0, 0, 1, 0, 20, 20)

OBJECT_COLORS = np.array(
    [[0.95, 0.95, 0.9], [0.2, 0.75, 0.25], [0.85, 0.15, 0.15], [0.2, 0.3, 0.9]]
)
BACKGROUND_COLORS = np.array([[0.5, 0.3, 0.6], [0.15, 0.5, 0.5], [0.9, 0.55, 0.45]])
RADII = [0.55, 0.85]
CAMERA_HEIGHTS = [0.6, 2.0, 3.6]
LIGHT = np.array([-0.45, 0.8, -0.4])


def with_values(factor: int, values: range, others: tuple[int, ...] = MIDDLE) -> Tensor:
    """The same factors with one of them running through values."""
    factors = torch.tensor(others).repeat(len(values), 1)
    factors[:, factor] = torch.tensor(values)
    return factors


def random_factors(number: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    sizes = SceneImages.factor_sizes
    return torch.stack([torch.randint(n, (number,), generator=generator) for n in sizes], -1)


def silhouettes(scene: SceneImages, factors: Tensor, colors: tuple[int, int] = (0, 3)) -> Tensor:
    """Pixels in which two colours of the object differ, ``(B, H, W)``."""
    first, second = factors.clone(), factors.clone()
    first[:, COLOR], second[:, COLOR] = colors
    return (scene.images(first) != scene.images(second)).any(1)


# A ray caster of its own: a solid is the unit ball of a norm, a convex function along any ray,
# whose interval below 1 is found by search, and whose gradient there by differences.

NORMS: list[Callable[[NDArray[np.float64]], float]] = [
    lambda p: math.hypot(*p),
    lambda p: (
        1.25
        * max(
            abs(math.cos(0.5) * p[0] + math.sin(0.5) * p[2]),
            abs(p[1]),
            abs(math.cos(0.5) * p[2] - math.sin(0.5) * p[0]),
        )
    ),
    lambda p: max(0.9 * abs(p[1]), 1.5 * math.hypot(p[0], p[2])),
    lambda p: 0.8 * (abs(p[0]) + abs(p[1]) + abs(p[2])),
]


def bisect(inside: Callable[[float], bool], low: float, high: float) -> float:
    """Where ``inside`` changes from its value at ``low``."""
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if inside(middle) == inside(low) else (low, middle)
    return low


def cast(
    norm: Callable[[NDArray[np.float64]], float],
    start: NDArray[np.float64],
    ray: NDArray[np.float64],
) -> tuple[float, float]:
    """Coverage and brightness of a solid."""

    def value(t: float) -> float:
        return norm(start + t * ray)

    low, high = 0.0, 30.0
    while high - low > 1e-9:
        left, right = low + (high - low) / 3, high - (high - low) / 3
        low, high = (low, right) if value(left) < value(right) else (left, high)
    nearest = (low + high) / 2
    if value(nearest) >= 1:
        return 0.0, 0.0
    enter, leave = (bisect(lambda t: value(t) < 1, nearest, end) for end in (0.0, 30.0))
    point, step = start + enter * ray, 1e-6
    normal = np.array([norm(point + step * e) - norm(point - step * e) for e in np.eye(3)])
    cosine = normal @ LIGHT / np.linalg.norm(normal)
    return min((leave - enter) / 0.3, 1), 0.35 + 0.65 * min(max(cosine, 0), 1)


def traced(factors: list[int], size: int) -> NDArray[np.float64]:
    """The image of one scene, ray by ray."""
    color, shape, radius_index, camera, background, horizontal, vertical = factors
    radius, height = RADII[radius_index], CAMERA_HEIGHTS[camera]
    center = np.array([-0.9 + 1.8 * horizontal / 39, 0.85 + 0.9 * vertical / 39, 0])
    origin = np.array([0, height, -5])
    forward = np.array([0, 1.1, 0]) - origin
    forward = forward / np.linalg.norm(forward)
    up = np.array([0, forward[2], -forward[1]])
    shadow = center - LIGHT * center[1] / LIGHT[1]
    image = np.empty((3, size, size))
    for i in range(size):
        for j in range(size):
            y, x = 0.38 * (1 - (2 * i + 1) / size), 0.38 * ((2 * j + 1) / size - 1)
            ray = forward + y * up + np.array([x, 0, 0])
            t = height / max(-ray[1], 1e-3)
            floor = origin + t * ray
            distance = (floor[0] - shadow[0]) ** 2 + (floor[2] - shadow[2]) ** 2
            darkness = 0.7 * math.exp(-distance / (0.7 * radius**2))
            floor_brightness = (0.35 + 0.65 * math.exp(-t / 12)) * (1 - darkness)
            coverage, brightness = cast(NORMS[shape], (origin - center) / radius, ray)
            image[:, i, j] = coverage * brightness * OBJECT_COLORS[color]
            image[:, i, j] += (1 - coverage) * floor_brightness * BACKGROUND_COLORS[background]
    return image


@pytest.mark.parametrize("shape", range(4))
def test_images_are_those_of_a_ray_caster(shape: int) -> None:
    factors = random_factors(6)
    factors[:, SHAPE] = shape
    factors[:, CAMERA] = torch.arange(6) % 3
    images = SceneImages(size=11).images(factors)
    expected = np.stack([traced(row, 11) for row in factors.tolist()])
    np.testing.assert_allclose(images.numpy(), expected, atol=1e-3)


def test_pixels_are_within_bounds() -> None:
    images = SceneImages(size=17).images(random_factors(500))
    assert images.shape == (500, 3, 17, 17)
    assert images.dtype == torch.float32
    assert images.min() >= 0
    assert images.max() <= 1


def test_images_of_a_batch_are_those_of_its_members() -> None:
    scene = SceneImages(size=16)
    factors = random_factors(40)
    one_by_one = torch.cat([scene.images(row[None]) for row in factors])
    torch.testing.assert_close(scene.images(factors), one_by_one, atol=1e-3, rtol=0)


def test_silhouettes_are_mirrored_with_the_position() -> None:
    for size in (1, 2, 7, 32):
        factors = with_values(HORIZONTAL, range(40), (0, 0, 1, 1, 0, 0, 20))
        shown = silhouettes(SceneImages(size), factors)
        assert torch.equal(shown, shown.flip(0, 2))


def test_color_changes_the_object_alone() -> None:
    scene = SceneImages(size=32)
    factors = random_factors(50)
    shown = silhouettes(scene, factors)
    for colors in [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3)]:
        assert torch.equal(silhouettes(scene, factors, colors), shown)
    share = shown.float().mean((1, 2))
    assert share.min() > 0.03
    assert share.max() < 0.5


def test_background_changes_all_but_the_object() -> None:
    scene = SceneImages(size=32)
    factors = random_factors(50)
    shown = silhouettes(scene, factors)
    images = []
    for background in range(3):
        factors[:, BACKGROUND] = background
        images.append(scene.images(factors))
    same = (images[0] == images[1]).all(1) & (images[0] == images[2]).all(1)
    assert not (same & ~shown).any()
    # But for the pixels on its edge, the object is opaque.
    edge = shown & ~same
    assert (edge.sum((1, 2)) < 0.5 * shown.sum((1, 2))).all()


@pytest.mark.parametrize("shape", range(4))
@pytest.mark.parametrize("camera", range(3))
def test_the_object_moves_with_its_position(shape: int, camera: int) -> None:
    scene = SceneImages(size=64)
    ticks = torch.arange(64.0)
    others = (0, shape, 1, camera, 0, 20, 20)
    for factor, axis, sign in [(HORIZONTAL, 1, 1), (VERTICAL, 2, -1)]:
        shown = silhouettes(scene, with_values(factor, range(40), others)).float()
        centroids = (shown.sum(axis) * ticks).sum(-1) / shown.sum((1, 2))
        # Steps are half a pixel or less: no single one is seen for sure, any three are.
        assert (sign * (centroids[3:] - centroids[:-3]) > 0).all()
        assert sign * (centroids[-1] - centroids[0]) > 10


@pytest.mark.parametrize("shape", range(4))
def test_area_grows_with_the_square_of_the_size(shape: int) -> None:
    factors = with_values(SIZE, range(2), (0, shape, 0, 1, 0, 20, 20))
    small, large = silhouettes(SceneImages(size=256), factors).sum((1, 2)).tolist()
    # The surface of the larger one is closer to the camera.
    assert 1 < large / small / (0.85 / 0.55) ** 2 < 1.1


def test_shapes_have_silhouettes_of_their_own() -> None:
    scene = SceneImages(size=64)
    for camera in range(3):
        shown = silhouettes(scene, with_values(SHAPE, range(4), (0, 0, 1, camera, 0, 20, 20)))
        for first in range(4):
            for second in range(first):
                both = (shown[first] & shown[second]).sum()
                assert both / (shown[first] | shown[second]).sum() < 0.93


def test_camera_moves_the_horizon() -> None:
    images = SceneImages(size=64).images(with_values(CAMERA, range(3), (0, 0, 0, 0, 0, 39, 39)))
    # The leftmost column is far from the object. Beyond the horizon, all is as dark as it gets.
    dark = (images[:, :, :, 0] / torch.tensor(BACKGROUND_COLORS[0])[:, None] < 0.351).all(1)
    horizon = [(1 - (height - 1.1) / 5 / 0.38) * 32 for height in CAMERA_HEIGHTS]
    for rows, row in zip(dark.sum(-1).tolist(), horizon, strict=True):
        # The floor fades so much that the horizon is found up to three pixels too low.
        assert max(row, 0) - 1 < rows < max(row, 0) + 3


def test_size_must_be_positive() -> None:
    with pytest.raises(ValueError, match="size must be positive, but is 0"):
        SceneImages(size=0)
