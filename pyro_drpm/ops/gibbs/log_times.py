# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

r"""Exact draws of the time at which the first of all later elements arrives.

Elements arrive at exponential times, with their scores :math:`s_i` as rates. Given that all members
of subset ``k`` come before everyone in a later subset, the first of these comes at a time with the
density

.. math:: p(t) \propto R e^{-R t} \prod_{i \in k} (1 - e^{-s_i t}),

``R`` the sum of the later scores. The density of :math:`v = \log R t` is log-concave. It is drawn
by rejection, from the hull of three tangents: at the mode, and about a standard deviation beside
it. All subsets are drawn at once.

References:
    Gilks, W. R., Wild, P.: Adaptive rejection sampling for Gibbs sampling. Applied Statistics 41,
    1992.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["draw_log_times", "log1mexp_of_log"]

Floats = NDArray[np.float64]

_WIDTH = 1.2  # distance of the outer tangents, in standard deviations
# Logarithms of x at which 1 - exp(-x) is x, and is 1, in float64.
_LOW, _HIGH = -30.0, 6.5


def log1mexp_of_log(log_x: Floats) -> Floats:
    """``log(1 - exp(-x))`` from the logarithm of ``x``, however large or small."""
    return np.where(log_x < _LOW, log_x, np.log(-np.expm1(-_clipped_exp(log_x))))


def draw_log_times(
    rng: np.random.Generator, log_scores: Floats, subset: NDArray[np.int64], num_subsets: int
) -> Floats:
    """Draw ``v`` for each subset.

    Args:
        rng: Source of randomness.
        log_scores: Those of all members, less the logarithm of the later scores' sum, ``(m,)``.
        subset: Which subset each member is in, ``(m,)``.
        num_subsets: The number ``K``; subsets may have no members.

    Returns:
        Shape ``(K,)``.
    """
    density = _Density(log_scores, subset, num_subsets)
    mode, width = density.mode()
    points = mode + _WIDTH * width * np.array([[-1.0], [0.0], [1.0]])
    touching = [density(v) for v in points]
    values, slopes = (np.stack(x) for x in zip(*touching, strict=True))
    hull = _Hull.of_tangents(points, values, slopes)
    drawn = np.empty(num_subsets)
    open_ = np.ones(num_subsets, bool)
    while open_.any():
        v = hull.draw(rng)
        accepted = -rng.exponential(size=num_subsets) < density(v)[0] - hull(v)
        drawn = np.where(open_ & accepted, v, drawn)
        open_ &= ~accepted
    return drawn


class _Density(NamedTuple):
    """The log-densities of ``v``, up to constants."""

    log_scores: Floats
    subset: NDArray[np.int64]
    num_subsets: int

    def __call__(self, v: Floats) -> tuple[Floats, Floats]:
        """Values and slopes."""
        log_x = self.log_scores + v[self.subset]
        t = np.exp(v)
        return v - t + self._sums(log1mexp_of_log(log_x)), 1 - t + self._sums(_slope(log_x))

    def mode(self) -> tuple[Floats, Floats]:
        """Where they are largest, to a part of their widths, and these widths.

        The slope is between ``1 - exp(v)`` and ``1 + m - exp(v)``, so it vanishes between 0 and
        ``log(1 + m)``. Newton's steps stay in brackets that shrink.
        """
        high = np.log1p(np.bincount(self.subset, minlength=self.num_subsets))
        low, v = np.zeros_like(high), high / 2
        for _ in range(60):
            log_x = self.log_scores + v[self.subset]
            h = _slope(log_x)
            slope = 1 - np.exp(v) + self._sums(h)
            curvature = np.exp(v) - self._sums(h * (1 - _clipped_exp(log_x) - h))
            if (np.abs(slope) <= 0.1 * np.sqrt(curvature)).all():
                break
            low, high = np.where(slope > 0, v, low), np.where(slope > 0, high, v)
            step = v + slope / curvature
            v = np.where((step > low) & (step < high), step, (low + high) / 2)
        return v, 1 / np.sqrt(curvature)

    def _sums(self, terms: Floats) -> Floats:
        return np.bincount(self.subset, terms, self.num_subsets).astype(np.float64)


def _slope(log_x: Floats) -> Floats:
    """The derivative of ``log(1 - exp(-x))`` by ``log x``."""
    x = _clipped_exp(log_x)
    return x / np.expm1(x)


def _clipped_exp(log_x: Floats) -> Floats:
    return np.exp(np.clip(log_x, _LOW, _HIGH))


class _Hull(NamedTuple):
    """Tangents to log-densities, the lowest of which is above them.

    Attributes:
        points: Where they touch, shape ``(3, K)``, as of all others but ``meet``.
        values: How high.
        slopes: How steep; the first is positive, the last negative.
        meet: Where neighbors meet, shape ``(2, K)``.
    """

    points: Floats
    values: Floats
    slopes: Floats
    meet: Floats

    @staticmethod
    def of_tangents(points: Floats, values: Floats, slopes: Floats) -> _Hull:
        intercepts = values - slopes * points
        falls = slopes[:-1] - slopes[1:]
        meet = (intercepts[1:] - intercepts[:-1]) / falls
        return _Hull(points, values, slopes, np.clip(meet, points[:-1], points[1:]))

    def __call__(self, v: Floats) -> Floats:
        """How high the hull is at ``v``, shape ``(K,)``."""
        return (self.values + self.slopes * (v - self.points)).min(0)

    def draw(self, rng: np.random.Generator) -> Floats:
        """Draw from the density whose logarithm is the hull, shape ``(K,)``."""
        at_meet = self(self.meet[0]), self(self.meet[1])
        top = np.maximum(*at_meet)
        rise = self.slopes[1] * (self.meet[1] - self.meet[0])
        # exp(x) - 1 over x, which is 1 at 0.
        flat = np.abs(rise) < 1e-8
        growth = np.where(flat, 1.0, np.expm1(rise) / np.where(flat, 1.0, rise))
        left = np.exp(at_meet[0] - top) / self.slopes[0]
        middle = np.exp(at_meet[0] - top) * (self.meet[1] - self.meet[0]) * growth
        right = np.exp(at_meet[1] - top) / -self.slopes[2]
        where = rng.random(left.shape) * (left + middle + right)
        part = rng.random(left.shape)
        inside = np.where(flat, part, np.log1p(part * np.expm1(rise)) / np.where(flat, 1.0, rise))
        return np.where(
            where < left,
            self.meet[0] + np.log(part) / self.slopes[0],
            np.where(
                where < left + middle,
                self.meet[0] + inside * (self.meet[1] - self.meet[0]),
                self.meet[1] + np.log(part) / self.slopes[2],
            ),
        )
