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
from pyro_drpm.ops.precision import full_precision
from pyro_drpm.ops.transforms import transformed

__all__ = ["band_half_width", "neural_sort", "neural_sort_band", "permute_hard", "permute_relaxed"]

# Entries of the band that are held at a time.
_CHUNK = 1 << 20
# Up to this length a GPU computes whole rows.
_SHORT_ROWS = 1 << 10


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
    if unknown or (ordered.device.type != "cpu" and n <= _SHORT_ROWS):
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
        ``i + m - h`` and is 0 where there is none.
    """
    falls = _falls(ordered.double())
    near = _Falls(
        column=_windows(falls.column, half_width, beyond=math.inf)[..., rows, :],
        slope=_windows(falls.slope, half_width)[..., rows, :],
        row=falls.row[..., rows],
    )
    return near.softmax(_indices(falls.row)[rows], temperature, dtype)


def _whole_rows(
    ordered: Tensor, temperature: Tensor | float, rows: slice, dtype: torch.dtype
) -> Tensor:
    """Rows of the relaxed permutation matrix, columns in sorted order, ``(*batch, rows, n)``."""
    falls = _falls(ordered.double())
    every = _Falls(falls.column.unsqueeze(-2), falls.slope.unsqueeze(-2), falls.row[..., rows])
    return every.softmax(_indices(falls.row)[rows], temperature, dtype)


def _reaches_all(half_width: int, n: int) -> bool:
    """Whether whole rows are no longer than those of the band."""
    return 2 * half_width + 1 >= n


class _Falls(NamedTuple):
    """The fall of the logits (times the temperature) as ``column_j - i slope_j + row_i``."""

    column: Tensor
    slope: Tensor
    row: Tensor

    def at(self, rows: slice, columns: slice) -> Tensor:
        """Falls of the pairs of a row and a column."""
        index = _indices(self.row)[rows]
        return self.column[..., columns] - index * self.slope[..., columns] + self.row[..., rows]

    def softmax(self, index: Tensor, temperature: Tensor | float, dtype: torch.dtype) -> Tensor:
        """Rows of the given indices, each with the columns in the last dimension."""
        falling = torch.addcmul(self.column, index.unsqueeze(-1), self.slope, value=-1)
        return (-(falling + self.row.unsqueeze(-1)) / temperature).to(dtype).softmax(-1)


def _falls(ordered: Tensor) -> _Falls:
    gaps = ordered[..., :-1] - ordered[..., 1:]
    index = _indices(ordered)
    distance = F.pad(gaps.cumsum(-1), (1, 0))
    moment = F.pad((index[:-1] * gaps).cumsum(-1), (1, 0))
    row = (2 * index - 1) * distance - 2 * moment
    return _Falls(column=2 * moment + distance, slope=2 * distance, row=row)


def _indices(x: Tensor) -> Tensor:
    return torch.arange(x.shape[-1], dtype=x.dtype, device=x.device)


@overridable
@full_precision
def permute_hard(alpha: Tensor, scores: Tensor, temperature: Tensor | float) -> Tensor:
    r"""``alpha @ P`` with the sorting permutation ``P`` of the scores, straight-through.

    The value is a gather. The gradient with respect to ``alpha`` is that of the gather, the
    gradient with respect to the scores that of NeuralSort at the given temperature, whose band is
    recomputed in chunks, so that memory is linear in ``n``. Once differentiable.

    Args:
        alpha: One-hot columns, shape ``(*batch, K, n)``: the subset of each rank.
        scores: Shape ``(*batch, n)``; the highest has rank 1. They may be more precise than
            ``alpha``.
        temperature: Positive.

    Returns:
        Shape ``(*batch, K, n)``: the subset of each element.
    """
    ordered, order = scores.sort(dim=-1, descending=True, stable=True)
    result: Tensor = _PermuteHard.apply(alpha, ordered, order, temperature)
    return result


class _PermuteHard(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(
        alpha: Tensor, ordered: Tensor, order: Tensor, temperature: Tensor | float
    ) -> Tensor:
        # Not in place, which vmap allows for some tensors only.
        return alpha.scatter(-1, order.unsqueeze(-2).expand_as(alpha), alpha)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        alpha, ordered, order, ctx.temperature = inputs
        ctx.save_for_backward(subset_of_each(alpha), ordered, order)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        subset, ordered, order = ctx.saved_tensors
        grad_alpha = grads[0].gather(-1, order.unsqueeze(-2).expand_as(grads[0]))
        grad_ordered = None
        if ctx.needs_input_grad[1]:
            grad_ordered = _band_gradient(grad_alpha, subset, ordered, ctx.temperature)
        return grad_alpha, grad_ordered, None, None


@full_precision
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
    if transformed() or torch.jit.is_tracing():  # which know no checkpoints
        return unsort(_band_product(alpha, ordered, temperature, half_width), order)
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
    n = ordered.shape[-1]
    if _reaches_all(half_width, n):
        return alpha @ _whole_rows(ordered, temperature, slice(None), alpha.dtype)
    band = neural_sort_band(ordered, temperature, half_width, dtype=alpha.dtype)
    columns = _by_column(band)[..., half_width : half_width + n, :]
    windows = _windows(alpha, half_width)
    return torch.stack([(w * columns).sum(-1) for w in windows.unbind(-3)], -2)


@full_precision
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
    if _reaches_all(half_width, n):
        sums = _sums_of_whole_rows(grad, subset, ordered, temperature)
    else:
        sums = _sums_in_band(grad, subset, ordered, temperature, half_width)
    column_sum, moment = sums.unbind(-1)
    before = column_sum.cumsum(-1)
    after = before[..., -1:] - before
    return ((moment + before - column_sum - after) / temperature).view(shape)


def _sums_of_whole_rows(
    grad: Tensor, subset: Tensor, ordered: Tensor, temperature: Tensor | float
) -> Tensor:
    """``H_j`` and ``sum_i 2 (j - i) G_ij``, shape ``(B, n, 2)``."""
    n, index = ordered.shape[-1], _indices(grad)

    def of_rows(batch: slice, rows: slice) -> Tensor:
        matrix = _whole_rows(ordered[batch], temperature, rows, grad.dtype)
        own = subset[batch, rows].unsqueeze(-1).expand(-1, -1, n)
        slopes = _softmax_slopes(matrix, grad[batch].gather(-2, own))
        column_sum = slopes.sum(-2)
        moment = 2 * (index * column_sum - index[rows] @ slopes)
        return torch.stack([column_sum, moment], -1).to(ordered.dtype)

    parts: dict[int, Tensor] = {}
    for batch, rows in _chunks(len(ordered), n, n):
        part = of_rows(batch, rows)
        parts[batch.start] = parts[batch.start] + part if batch.start in parts else part
    return torch.cat(list(parts.values()))


def _sums_in_band(
    grad: Tensor, subset: Tensor, ordered: Tensor, temperature: Tensor | float, half_width: int
) -> Tensor:
    """The same from a narrow band."""
    n, width = ordered.shape[-1], 2 * half_width + 1
    windows = _windows(grad, half_width)  # (B, K, n, width)
    offset = torch.arange(half_width, -half_width - 1, -1, dtype=grad.dtype, device=grad.device)
    sums = ordered.new_zeros(*ordered.shape, 2)
    place = torch.arange(max(n, len(ordered)), device=ordered.device)
    for batch, rows in _chunks(len(ordered), n, width):
        near = slice(max(0, rows.start - half_width), min(n, rows.stop + half_width))
        local = slice(rows.start - near.start, rows.stop - near.start)
        band = neural_sort_band(
            ordered[batch, near], temperature, half_width, local, dtype=grad.dtype
        )
        near_grad = windows[place[batch, None], subset[batch, rows], place[rows]]
        slopes = _softmax_slopes(band, near_grad)
        first = near.start - rows.start + half_width
        columns = _by_column(slopes)[:, first : first + near.stop - near.start]
        # Not a product of matrices, for which every row would be copied alone.
        sums[batch, near] += torch.stack([columns.sum(-1), (2 * offset * columns).sum(-1)], -1)
    return sums


def _softmax_slopes(rows: Tensor, grad: Tensor) -> Tensor:
    """Gradient for the logits, given that for the rows of their softmax."""
    return rows * (grad - (rows * grad).sum(-1, keepdim=True))


def _windows(x: Tensor, half_width: int, beyond: float = 0.0) -> Tensor:
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
        return _by_column(grads[0]).sum(-1), None


def _by_column(band: Tensor) -> Tensor:
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


def _chunks(batch: int, n: int, width: int) -> Iterator[tuple[slice, slice]]:
    """Whole batch elements while several fit, else rows of one."""
    batch_step = max(1, _CHUNK // (n * width))
    row_step = n if batch_step > 1 else max(1, _CHUNK // width)
    for b in range(0, batch, batch_step):
        for i in range(0, n, row_step):
            yield slice(b, min(batch, b + batch_step)), slice(i, min(n, i + row_step))
