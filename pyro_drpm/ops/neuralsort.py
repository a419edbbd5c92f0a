# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

r"""NeuralSort, the relaxed sorting operator, in a band around the diagonal.

Row :math:`i` of the relaxed permutation matrix of scores :math:`z` is

.. math:: \mathrm{softmax}_j \Big[ \frac{(n + 1 - 2i) z_j - \sum_l |z_j - z_l|}{\tau} \Big]

(Grover, Wang, Zweig, Ermon: Stochastic Optimization of Sorting Networks via Continuous
Relaxations, ICLR 2019, equation 5). With the columns in sorted order and gaps
:math:`d_l = z_{(l)} - z_{(l+1)} \ge 0` the logits of a row fall off from their peak at
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
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from pyro_drpm.ops.labels import subset_of_each, unsort
from pyro_drpm.ops.overrides import overridable

__all__ = ["band_half_width", "neural_sort", "neural_sort_band", "permute_hard", "permute_relaxed"]

# Entries of the band that are held at a time.
_CHUNK = 1 << 20


def neural_sort(scores: Tensor, temperature: Tensor | float) -> Tensor:
    """The dense relaxed permutation matrix, a reference for tests and small problems.

    Args:
        scores: Shape ``(*batch, n)``.
        temperature: Positive.

    Returns:
        Shape ``(*batch, n, n)``; row ``i`` is a distribution over which element has rank ``i``.

    Example:
        >>> neural_sort(torch.tensor([1.0, 3.0]), 0.1).round()
        tensor([[0., 1.],
                [1., 0.]])
    """
    n = scores.shape[-1]
    distance = (scores.unsqueeze(-1) - scores.unsqueeze(-2)).abs().sum(-1)
    rank = torch.arange(1, n + 1, dtype=scores.dtype, device=scores.device)
    scale = (n + 1 - 2 * rank).unsqueeze(-1)
    logits = scale * scores.unsqueeze(-2) - distance.unsqueeze(-2)
    return (logits / temperature).softmax(-1)


def band_half_width(ordered: Tensor, temperature: Tensor | float, eps: float) -> int:
    """The smallest half-width whose band leaves out less than ``eps`` of every row.

    Args:
        ordered: Scores in descending order, shape ``(*batch, n)``.
        temperature: Positive.
        eps: Bound for the sum of a row's entries outside the band.
    """
    n = ordered.shape[-1]
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
        ``i + m - h`` and is 0 where there is none.
    """
    falls = _falls(ordered.double())
    width, pad = 2 * half_width + 1, (half_width, half_width)
    slope = F.pad(falls.slope, pad).unfold(-1, width, 1)[..., rows, :]
    column = F.pad(falls.column, pad, value=math.inf).unfold(-1, width, 1)[..., rows, :]
    index = torch.arange(ordered.shape[-1], dtype=slope.dtype, device=slope.device)[rows, None]
    fall = torch.addcmul(column, index, slope, value=-1) + falls.row[..., rows, None]
    return (-fall / temperature).to(dtype).softmax(-1)


class _Falls(NamedTuple):
    """The fall of the logits (times the temperature) as ``column_j - i slope_j + row_i``."""

    column: Tensor
    slope: Tensor
    row: Tensor

    def at(self, rows: slice, columns: slice) -> Tensor:
        """Falls of the pairs of a row and a column."""
        n = self.row.shape[-1]
        index = torch.arange(n, dtype=self.slope.dtype, device=self.slope.device)[rows]
        return self.column[..., columns] - index * self.slope[..., columns] + self.row[..., rows]


def _falls(ordered: Tensor) -> _Falls:
    gaps = ordered[..., :-1] - ordered[..., 1:]
    index = torch.arange(ordered.shape[-1], dtype=gaps.dtype, device=gaps.device)
    distance = F.pad(gaps.cumsum(-1), (1, 0))
    moment = F.pad((index[:-1] * gaps).cumsum(-1), (1, 0))
    row = (2 * index - 1) * distance - 2 * moment
    return _Falls(column=2 * moment + distance, slope=2 * distance, row=row)


@overridable
def permute_hard(alpha: Tensor, scores: Tensor, temperature: Tensor | float) -> Tensor:
    r"""``alpha @ P`` with the sorting permutation ``P`` of the scores, straight-through.

    The value is a gather. The gradient with respect to ``alpha`` is that of the gather, the
    gradient with respect to the scores that of NeuralSort at the given temperature, whose band is
    recomputed in chunks: no ``n x n`` matrix exists at any time. Once differentiable.

    Args:
        alpha: One-hot columns, shape ``(*batch, K, n)``: the subset of each rank.
        scores: Shape ``(*batch, n)``; the highest has rank 1. They may be more precise than
            ``alpha``.
        temperature: Positive.

    Returns:
        Shape ``(*batch, K, n)``: the subset of each element.
    """
    result: Tensor = _PermuteHard.apply(alpha, scores, temperature)
    return result


class _PermuteHard(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, alpha: Tensor, scores: Tensor, temperature: Tensor | float) -> Tensor:
        ordered, order = scores.sort(dim=-1, descending=True, stable=True)
        ctx.save_for_backward(subset_of_each(alpha), ordered, order)
        ctx.temperature = temperature
        return unsort(alpha, order)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        subset, ordered, order = ctx.saved_tensors
        grad_alpha = grads[0].gather(-1, order.unsqueeze(-2).expand_as(grads[0]))
        grad_scores = None
        if ctx.needs_input_grad[1]:
            grad_ordered = _band_gradient(grad_alpha, subset, ordered, ctx.temperature)
            grad_scores = unsort(grad_ordered, order)
        return grad_alpha, grad_scores, None


def permute_relaxed(alpha: Tensor, scores: Tensor, temperature: Tensor | float) -> Tensor:
    """``alpha @ P`` with the relaxed permutation matrix ``P`` of the scores.

    Args:
        alpha: Shape ``(*batch, K, n)``.
        scores: Shape ``(*batch, n)``.
        temperature: Positive.

    Returns:
        Shape ``(*batch, K, n)``.
    """
    ordered, order = scores.sort(dim=-1, descending=True, stable=True)
    eps = torch.finfo(alpha.dtype).eps
    half_width = band_half_width(ordered, temperature, eps)
    product = checkpoint(
        _band_product,
        alpha,
        ordered,
        temperature,
        half_width,
        use_reentrant=False,
        preserve_rng_state=False,
    )
    return unsort(product, order)


def _band_product(
    alpha: Tensor, ordered: Tensor, temperature: Tensor | float, half_width: int
) -> Tensor:
    band = neural_sort_band(ordered, temperature, half_width, dtype=alpha.dtype)
    n, width = band.shape[-2:]
    columns = _by_column(band.reshape(-1, n, width))[:, half_width : half_width + n].reshape(
        band.shape
    )
    windows = F.pad(alpha, (half_width, half_width)).unfold(-1, width, 1)
    return torch.stack([(w * columns).sum(-1) for w in windows.unbind(-3)], -2)


def _band_gradient(
    grad: Tensor, subset: Tensor, ordered: Tensor, temperature: Tensor | float
) -> Tensor:
    r"""Gradient for the ordered scores, given the gradient ``(*batch, K, n)`` for the partition.

    With ``G`` the gradient for the logits times the temperature and ``H`` its column sums,
    ``sum_i 2 (j - i) G_ij + sum_{l < j} H_l - sum_{l > j} H_l``.
    """
    shape, n = ordered.shape, ordered.shape[-1]
    ordered, subset = ordered.reshape(-1, n), subset.reshape(-1, n)
    grad = grad.reshape(-1, *grad.shape[-2:])
    half_width = band_half_width(ordered, temperature, torch.finfo(grad.dtype).eps)
    width = 2 * half_width + 1
    windows = F.pad(grad, (half_width, half_width)).unfold(-1, width, 1)  # (B, K, n, width)
    offset = torch.arange(-half_width, half_width + 1, dtype=grad.dtype, device=grad.device)
    weights = torch.stack([torch.ones_like(offset), 2 * offset], -1)
    sums = ordered.new_zeros(*ordered.shape, 2)
    place = torch.arange(max(n, len(ordered)), device=ordered.device)
    for batch, rows in _chunks(len(ordered), n, width):
        near = slice(max(0, rows.start - half_width), min(n, rows.stop + half_width))
        local = slice(rows.start - near.start, rows.stop - near.start)
        band = neural_sort_band(
            ordered[batch, near], temperature, half_width, local, dtype=grad.dtype
        )
        grad_band = windows[place[batch, None], subset[batch, rows], place[rows]]
        grad_band = band * (grad_band - (band * grad_band).sum(-1, keepdim=True))
        first = near.start - rows.start + half_width
        columns = _by_column(grad_band) @ weights.flip(0)
        sums[batch, near] += columns[:, first : first + near.stop - near.start]
    column_sum, moment = sums.unbind(-1)
    before = column_sum.cumsum(-1)
    after = before[..., -1:] - before
    return ((moment + before - column_sum - after) / temperature).view(shape)


def _by_column(band: Tensor) -> Tensor:
    """A band ``(B, rows, 2 h + 1)`` read along its antidiagonals, ``(B, rows + 2 h, 2 h + 1)``.

    Entry ``m`` of line ``c`` is the band's entry in row ``c - 2 h + m`` and place ``2 h - m``, zero
    where there is no such row.
    """
    reach = band.shape[-1] - 1
    padded = F.pad(band, (0, 0, reach, reach))
    lines = band.shape[-2] + reach
    size = (len(band), lines, reach + 1)
    stride = (padded.stride(0), reach + 1, reach)
    return padded.as_strided(size, stride, reach)


def _chunks(batch: int, n: int, width: int) -> Iterator[tuple[slice, slice]]:
    """Whole batch elements while several fit, else rows of one."""
    batch_step = max(1, _CHUNK // (n * width))
    row_step = n if batch_step > 1 else max(1, _CHUNK // width)
    for b in range(0, batch, batch_step):
        for i in range(0, n, row_step):
            yield slice(b, min(batch, b + batch_step)), slice(i, min(n, i + row_step))
