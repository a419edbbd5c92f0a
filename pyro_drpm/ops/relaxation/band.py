# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

r"""The rows of NeuralSort's matrix near its diagonal.

With the columns in sorted order and gaps :math:`d_l = z_{(l)} - z_{(l+1)} \ge 0` the logits of a
row of :func:`~pyro_drpm.ops.relaxation.neuralsort.neural_sort` fall off from their peak at
:math:`j = i` by

.. math:: \frac{1}{\tau} \sum_{l=i}^{j-1} (2 (l - i) + 1) \, d_l \quad (j > i), \qquad
          \frac{1}{\tau} \sum_{l=j}^{i-1} (2 (i - l) - 1) \, d_l \quad (j < i),

that is with the square of the distance. So a row needs its neighbours only, and if the fall at
distance :math:`h` is at least :math:`\log(n / \epsilon)`, what the band of half-width :math:`h`
leaves out weighs less than :math:`\epsilon` (the logits fall monotonically, and fewer than
:math:`n` are left out).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_drpm.ops import host
from pyro_drpm.ops.transforms import transformed

__all__ = [
    "band_half_width",
    "by_column",
    "indices",
    "neural_sort_band",
    "reaches_all",
    "whole_rows",
    "windows",
]

# Up to this length a GPU computes whole rows.
_SHORT_ROWS = 1 << 10

# Logits below which nothing is left: exponentials of them take many times as long, and times a
# gradient these would be denormal numbers. What is above zero is rounding.
_VANISHING = -50.0


def band_half_width(ordered: Tensor, temperature: Tensor | float, eps: float) -> int:
    """The smallest half-width whose band leaves out less than ``eps`` of every row.

    It is that of whole rows where the scores cannot be looked at, in a transform of
    :mod:`torch.func` or while :func:`torch.jit.trace` records, and on a GPU if these are short: the
    host would have to wait for the scores.

    Args:
        ordered: Scores in descending order, shape ``(*batch, n)``.
        temperature: Positive.
        eps: Bound for the sum of a row's entries outside the band.
    """
    n = ordered.shape[-1]
    unknown = transformed() or torch.jit.is_tracing()
    if unknown or (n <= _SHORT_ROWS and not host.is_at_hand(ordered)):
        return n - 1
    falls = _falls(ordered.detach().double())
    needed = math.log(n / eps) * temperature

    def wide_enough(half_width: int) -> bool:
        upper, lower = slice(n - half_width), slice(half_width, n)
        downwards = falls.at(upper, lower)
        upwards = falls.at(lower, upper)
        return bool((torch.minimum(downwards, upwards) >= needed).all())

    too_narrow, enough = 0, n
    while enough - too_narrow > 1:
        middle = (too_narrow + enough) // 2
        if wide_enough(middle):
            enough = middle
        else:
            too_narrow = middle
    return min(enough, n - 1)


def neural_sort_band(
    ordered: Tensor,
    temperature: Tensor | float,
    half_width: int,
    rows: slice = slice(None),
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Rows of the relaxed permutation matrix, columns in sorted order, inside the band.

    Args:
        ordered: Scores in descending order, shape ``(*batch, n)``.
        temperature: Positive.
        half_width: Half-width ``h`` of the band.
        rows: Which rows to compute.
        dtype: Of the result; the logits are differences and always computed in float64.

    Returns:
        Shape ``(*batch, rows, 2 h + 1)``; entry ``m`` of row ``i`` belongs to the element of rank
        ``i + m - h`` and vanishes where there is none.
    """
    logits = _logits(ordered, temperature)
    near = _Falls(
        column=windows(logits.column, half_width, beyond=-math.inf)[..., rows, :],
        slope=windows(logits.slope, half_width)[..., rows, :],
        row=logits.row[..., rows],
    )
    return near.softmax(indices(logits.row)[rows], dtype)


def whole_rows(
    ordered: Tensor, temperature: Tensor | float, rows: slice, dtype: torch.dtype
) -> Tensor:
    """Rows of the relaxed permutation matrix, columns in sorted order, ``(*batch, rows, n)``."""
    logits = _logits(ordered, temperature)
    every = _Falls(logits.column.unsqueeze(-2), logits.slope.unsqueeze(-2), logits.row[..., rows])
    return every.softmax(indices(logits.row)[rows], dtype)


def reaches_all(half_width: int, n: int) -> bool:
    """Whether whole rows are no longer than those of the band."""
    return 2 * half_width + 1 >= n


class _Falls(NamedTuple):
    """The logits, or their fall times the temperature, as ``column_j - i slope_j + row_i``."""

    column: Tensor
    slope: Tensor
    row: Tensor

    def at(self, rows: slice, columns: slice) -> Tensor:
        """Falls of the pairs of a row and a column."""
        index = indices(self.row)[rows]
        return self.column[..., columns] - index * self.slope[..., columns] + self.row[..., rows]

    def softmax(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        """Rows of the given indices, where these are the logits themselves."""
        logits = torch.addcmul(self.column, index.unsqueeze(-1), self.slope, value=-1)
        logits = logits.add_(self.row.unsqueeze(-1)).to(dtype)
        weights = logits.clamp_(_VANISHING, -_VANISHING).exp_()
        return weights / weights.sum(-1, keepdim=True)


def _falls(ordered: Tensor) -> _Falls:
    gaps = ordered[..., :-1] - ordered[..., 1:]
    index = indices(ordered)
    distance = F.pad(gaps.cumsum(-1), (1, 0))
    moment = F.pad((index[:-1] * gaps).cumsum(-1), (1, 0))
    row = (2 * index - 1) * distance - 2 * moment
    return _Falls(column=2 * moment + distance, slope=2 * distance, row=row)


def _logits(ordered: Tensor, temperature: Tensor | float) -> _Falls:
    """The logits: they are linear in the scores, so that no sign has to be changed later."""
    return _falls(ordered.double() / -temperature)


def indices(x: Tensor) -> Tensor:
    """Places along the last dimension, in the dtype of ``x``."""
    return torch.arange(x.shape[-1], dtype=x.dtype, device=x.device)


def windows(x: Tensor, half_width: int, beyond: float = 0.0) -> Tensor:
    """What lies within the half-width of each place, ``(*batch, n, 2 h + 1)``, a view."""
    padded = F.pad(x, (half_width, half_width), value=beyond)
    result: Tensor = _Unfold.apply(padded, 2 * half_width + 1)
    return result


class _Unfold(torch.autograd.Function):
    """``Tensor.unfold`` with a gradient that does not scatter, and is ten times as fast."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, width: int) -> Tensor:
        return x.unfold(-1, width, 1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return by_column(grads[0]).sum(-1), None


def by_column(band: Tensor) -> Tensor:
    """A band ``(*batch, rows, 2 h + 1)`` read along its antidiagonals.

    Entry ``m`` of line ``c`` of the result, of shape ``(*batch, rows + 2 h, 2 h + 1)``, is the
    band's entry in row ``c - 2 h + m`` and place ``2 h - m``, zero where there is no such row.
    """
    result: Tensor = _ByColumn.apply(band)
    return result


class _ByColumn(torch.autograd.Function):
    """Its gradient reads along diagonals, where that of ``as_strided`` would scatter."""

    @staticmethod
    def forward(ctx: Any, band: Tensor) -> Tensor:
        *batch, rows, width = band.shape
        lines = band.new_zeros(*batch, rows + width - 1, width)
        _by_row(lines).copy_(band)
        return lines

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return _ByRow.apply(grads[0])


class _ByRow(torch.autograd.Function):
    """The adjoint of :class:`_ByColumn`; with it every derivative stays in the pair."""

    @staticmethod
    def forward(ctx: Any, lines: Tensor) -> Tensor:
        return _by_row(lines.contiguous())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return _ByColumn.apply(grads[0])


def _by_row(lines: Tensor) -> Tensor:
    """A view of contiguous lines: place ``p`` of row ``r`` is ``2 h - p`` of line ``r + p``."""
    reach = lines.shape[-1] - 1
    size = (*lines.shape[:-2], lines.shape[-2] - reach, reach + 1)
    return lines.as_strided(size, (*lines.stride()[:-2], reach + 1, reach), reach)
