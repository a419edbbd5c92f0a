# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""A procedural scene: one object above a floor, seen by a camera, with seven factors.

The factors and their numbers of values are those of mpi3d (Gondal et al., NeurIPS 2019), which
shows a real one. Every image is computed when it is asked for, by one ray per pixel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from models.data.factors import FactorImages

__all__ = ["SceneImages"]

# The floor is the plane y = 0; x points to the right, and z away from the camera. Colours are red,
# green and blue.
_OBJECT_COLORS = ((0.95, 0.95, 0.9), (0.2, 0.75, 0.25), (0.85, 0.15, 0.15), (0.2, 0.3, 0.9))
_OBJECT_SIZES = (0.55, 0.85)  # radius of the sphere, unit of length of the others
_HORIZONTAL = (-0.9, 0.9)  # range of the centre's x; its z is 0
_VERTICAL = (0.85, 1.75)  # range of the centre's y

_CAMERA_HEIGHTS = (0.6, 2.0, 3.6)
_CAMERA_DISTANCE = 5.0  # along z from the object
_TARGET_HEIGHT = 1.1  # of the point on the y axis that the camera looks at
_HALF_WIDTH = 0.38  # of the picture, at distance 1 from the camera

_BACKGROUND_COLORS = ((0.5, 0.3, 0.6), (0.15, 0.5, 0.5), (0.9, 0.55, 0.45))
_FADING_DISTANCE, _FARTHEST = 12.0, 0.35  # the floor's brightness falls from 1 to this
_SHADOW_DEPTH = 0.7  # share of the brightness that is missing at its middle
_SHADOW_RADIUS = math.sqrt(0.7 * math.log(2))  # half the depth is left here, in object sizes

_LIGHT = (-0.45, 0.8, -0.4)  # direction towards the light, of length 1 within a percent
_AMBIENT = 0.35  # brightness of what faces away from the light
_BLUR = 0.3  # length of a ray within an object of size 1 that makes it opaque


# For shapes with less than four pairs of faces, and without a round surface: so far outside of them
# that no ray to a shape meets them first.
_FAR_FACES = (0.0, 0.0, 0.1)
_FAR_ROUND = (0.05, 0.05, 0.05)


class _Shape(NamedTuple):
    """The points ``p`` with ``|n . p| <= 1`` for all normals ``n``, and ``|a p| <= 1``.

    All shapes have as many surfaces, so that one computation serves a batch of different ones.

    Attributes:
        normals: Of four pairs of parallel faces; their lengths are the inverse distances.
        round_axes: Inverse semi-axes ``a`` of an ellipsoid, all equal, or 0 along a cylinder.
    """

    normals: tuple[tuple[float, float, float], ...] = (_FAR_FACES,) * 4
    round_axes: tuple[float, float, float] = _FAR_ROUND


_COS, _SIN = 1.25 * math.cos(0.5), 1.25 * math.sin(0.5)  # the cube shows two of its sides
_SPHERE = _Shape(round_axes=(1, 1, 1))
_CUBE = _Shape(normals=((_COS, 0, _SIN), (0, 1.25, 0), (-_SIN, 0, _COS), _FAR_FACES))
_CYLINDER = _Shape(normals=((0, 0.9, 0), *(_FAR_FACES,) * 3), round_axes=(1.5, 0, 1.5))
_OCTAHEDRON = _Shape(normals=tuple((a, 0.8, b) for a in (-0.8, 0.8) for b in (-0.8, 0.8)))
_SHAPES = (_SPHERE, _CUBE, _CYLINDER, _OCTAHEDRON)


class _Rays(NamedTuple):
    """Directions of the rays of all pixels, split so that little is computed per pixel.

    The ray of the pixel in row ``i`` and column ``j`` is ``rows[i] + columns[j]``; a row's part has
    no x component, a column's part no other.

    Attributes:
        rows: Shape ``(B, H, 3)``.
        columns: Shape ``(W, 3)``.
    """

    rows: Tensor
    columns: Tensor

    def dot(self, vectors: Tensor) -> Iterator[Tensor]:
        """Scalar products with each of the vectors ``(B, K, 3)``: ``K`` times ``(B, H, W)``."""
        rows, columns = vectors @ self.rows.mT, vectors @ self.columns.mT
        for row, column in zip(rows.unbind(1), columns.unbind(1), strict=True):
            yield row[:, :, None] + column[:, None]

    def squared_lengths(self, axes: Tensor) -> Tensor:
        """Squared lengths after a multiplication by ``axes``, ``(B, 3)``: ``(B, H, W)``."""
        squares = _Rays(self.rows.square(), self.columns.square())
        return next(squares.dot(axes.square()[:, None]))


class _Hit(NamedTuple):
    """Where the rays ``origin + t ray`` meet a convex body, ``(B, H, W)`` each.

    Attributes:
        enter: ``t`` where they enter it.
        leave: ``t`` where they leave it, not above ``enter`` if they miss it.
        light: Cosine of the angle between its normal there and the light.
    """

    enter: Tensor
    leave: Tensor
    light: Tensor


class SceneImages(FactorImages):
    """Images of a sphere, cube, cylinder or octahedron above a floor.

    ============== ==== ===========================================================
    factor         size
    ============== ==== ===========================================================
    object_color   4    white, green, red, blue
    object_shape   4    sphere, cube, cylinder, octahedron
    object_size    2
    camera_height  3    the camera always looks at the same point
    background     3    colour of the floor, which fades into the distance
    horizontal     40   position of the object from left to right
    vertical       40   its height above the floor, which its shadow shows as well
    ============== ==== ===========================================================

    Args:
        size: Height and width of the images in pixels.
        device: Where images are computed.

    Raises:
        ValueError: If ``size`` is not positive.

    Example:
        >>> scene = SceneImages(size=32)
        >>> pair = scene.sample_pair(n_shared=3, batch_size=8)
        >>> pair.images.shape, pair.shared.sum(-1).unique()
        (torch.Size([8, 2, 3, 32, 32]), tensor([3]))
    """

    factor_names = (
        *("object_color", "object_shape", "object_size", "camera_height", "background"),
        *("horizontal", "vertical"),
    )
    factor_sizes = (4, 4, 2, 3, 3, 40, 40)

    def __init__(self, size: int = 64, device: torch.device | str = "cpu") -> None:
        if size < 1:
            raise ValueError(f"size must be positive, but is {size}")
        self.image_shape = (3, size, size)
        self.device = torch.device(device)
        self._make_factor_tables()
        self._make_ray_tables(size)

    def _make_factor_tables(self) -> None:
        """What the values of the factors stand for."""
        self._object_colors = self._table(_OBJECT_COLORS)
        self._object_sizes = self._table(_OBJECT_SIZES)
        self._normals = self._table([shape.normals for shape in _SHAPES])
        self._round_axes = self._table([shape.round_axes for shape in _SHAPES])
        self._cameras = self._table([(0, height, -_CAMERA_DISTANCE) for height in _CAMERA_HEIGHTS])
        self._background_colors = self._table(_BACKGROUND_COLORS)
        *_, columns, rows = self.factor_sizes
        self._horizontal = torch.linspace(*_HORIZONTAL, columns, device=self.device)
        self._vertical = torch.linspace(*_VERTICAL, rows, device=self.device)
        self._light = self._table(_LIGHT)

    def _make_ray_tables(self, size: int) -> None:
        """What rows and columns of pixels contribute to rays and to the floor, for each camera."""
        forward = normalize(self._table((0, _TARGET_HEIGHT, 0)) - self._cameras)
        right = self._table((1, 0, 0))
        up = torch.linalg.cross(forward, right.expand_as(forward))
        ticks = torch.linspace(-1, 1, 2 * size + 1, device=self.device)[1::2, None] * _HALF_WIDTH
        self._rows = forward[:, None] - ticks * up[:, None]  # (cameras, H, 3)
        self._columns = ticks * right  # (W, 3)
        downwards = (-self._rows[..., 1]).clamp(min=1e-3)  # above the horizon, it is far away
        distance = self._cameras[:, 1:2] / downwards
        depth = self._cameras[:, 2:] + distance * self._rows[..., 2]
        fading = _FARTHEST + (1 - _FARTHEST) * (-distance / _FADING_DISTANCE).exp()
        self._floor = torch.stack([distance, depth, fading], 1)  # (cameras, 3, H)

    def _table(self, values: object) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=self.device)

    def images(self, factors: Tensor) -> Tensor:
        color, shape, size, camera, background, horizontal, vertical = factors.unbind(-1)
        radius = self._object_sizes[size]
        x, y = self._horizontal[horizontal], self._vertical[vertical]
        center = torch.stack([x, y, torch.zeros_like(x)], -1)
        coverage, brightness = self._object(shape, camera, center, radius)
        floor = self._floor_brightness(camera, center, radius)
        front, behind = coverage * brightness, (1 - coverage) * floor
        pixels = front[:, None] * self._object_colors[color][..., None, None]
        return pixels.addcmul_(
            behind[:, None], self._background_colors[background][..., None, None]
        )

    def _object(
        self, shape: Tensor, camera: Tensor, center: Tensor, radius: Tensor
    ) -> tuple[Tensor, Tensor]:
        """How much of a pixel the object covers, and its brightness there, ``(B, H, W)`` each."""
        rays = _Rays(self._rows[camera], self._columns)
        origin = (self._cameras[camera] - center) / radius[:, None]
        hit = _round_hit(self._round_axes[shape], origin, rays, self._light)
        for face_hit in _face_hits(self._normals[shape], origin, rays, self._light):
            hit = _intersection(hit, face_hit)
        # Rays through little of the object stand for pixels on its edge.
        coverage = ((hit.leave - hit.enter) / _BLUR).clamp_(0, 1)
        return coverage, hit.light.clamp(0, 1).mul_(1 - _AMBIENT).add_(_AMBIENT)

    def _floor_brightness(self, camera: Tensor, center: Tensor, radius: Tensor) -> Tensor:
        """Brightness of the background, ``(B, H, W)``: fading with the distance, and shadowed."""
        distance, depth, fading = self._floor[camera].unbind(1)
        shadow = center - self._light * (center[:, 1:2] / self._light[1])
        width = _SHADOW_RADIUS * radius[:, None]
        along = (depth - shadow[:, 2:]) / width
        across = (distance / width)[..., None] * self._columns[:, 0]
        across -= _plane(shadow[:, 0] / width[:, 0])
        # Not exp, which on a CPU takes ten times as long where it underflows, as in most pixels.
        light = torch.addcmul(along.square()[..., None], across, across).neg_().exp2_()
        return light.mul_(-_SHADOW_DEPTH).add_(1).mul_(fading[..., None])


def _round_hit(axes: Tensor, origin: Tensor, rays: _Rays, light: Tensor) -> _Hit:
    """Hits of the surfaces ``|axes p| = 1``; axes and origins are ``(B, 3)``."""
    start = axes * origin
    inverse = rays.squared_lengths(axes).reciprocal_()
    slope, light_slope = rays.dot(axes[:, None] * torch.stack([start, light.expand_as(start)], 1))
    middle = slope.mul_(inverse).neg_()
    half = inverse.mul_(_plane(1 - start.square().sum(-1))).addcmul_(middle, middle)
    half = half.clamp_(min=0).sqrt_()  # 0 for rays that miss it
    enter = middle - half
    return _Hit(enter, middle + half, light_slope.mul_(enter).add_(_plane(start @ light)))


def _face_hits(normals: Tensor, origin: Tensor, rays: _Rays, light: Tensor) -> Iterator[_Hit]:
    """Hits of each pair of planes ``|normal . p| = 1``; normals are ``(B, K, 3)``."""
    heights = (normals @ origin[..., None])[..., 0]
    # A ray from outside of the pair enters by the plane on the side that it comes from.
    cosines = heights.sign() * (normals @ light) / normals.norm(dim=-1)
    for k, slope in enumerate(rays.dot(normals)):
        inverse = slope.reciprocal_()
        middle, half = inverse * _plane(-heights[:, k]), inverse.abs()
        yield _Hit(middle - half, middle + half, _plane(cosines[:, k]).expand_as(half))


def _intersection(first: _Hit, second: _Hit) -> _Hit:
    """Hits of what two bodies have in common: rays enter it where they are within both."""
    # Not torch.where, which would take longer than all the rest of this function on a CPU.
    is_second = torch.gt(second.enter, first.enter, out=torch.empty_like(first.enter))
    return _Hit(
        torch.maximum(first.enter, second.enter),
        torch.minimum(first.leave, second.leave),
        torch.lerp(first.light, second.light, is_second),
    )


def _plane(values: Tensor) -> Tensor:
    return values[:, None, None]
