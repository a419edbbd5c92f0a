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
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

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
    moments = _gap_moments(ordered.detach().double())
    needed = math.log(n / eps) * temperature

    def wide_enough(half_width: int) -> bool:
        low, high = (slice(None, n - half_width), slice(half_width, None))
        down = _fall(moments, low, high)
        up = _fall(moments, high, low)
        return bool((torch.minimum(down, up) >= needed).all())

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
    n, width = ordered.shape[-1], 2 * half_width + 1
    distance, moment = (
        F.pad(x, (half_width, half_width)).unfold(-1, width, 1)[..., rows, :]
        for x in _gap_moments(ordered.double())
    )
    center = slice(half_width, half_width + 1)
    row = torch.arange(n, device=ordered.device)[rows].unsqueeze(-1)
    fall = 2 * (moment - moment[..., center]) - (2 * row - 1) * (distance - distance[..., center])
    column = row + torch.arange(-half_width, half_width + 1, device=ordered.device)
    logits = (-fall / temperature).to(dtype)
    return logits.masked_fill((column < 0) | (column >= n), -math.inf).softmax(-1)


def _gap_moments(ordered: Tensor) -> tuple[Tensor, Tensor]:
    """Running sums of the gaps ``d_l`` and of ``l d_l``, shape ``(*batch, n)`` each."""
    gaps = ordered[..., :-1] - ordered[..., 1:]
    place = torch.arange(gaps.shape[-1], device=gaps.device)
    return F.pad(gaps.cumsum(-1), (1, 0)), F.pad((place * gaps).cumsum(-1), (1, 0))


def _fall(moments: tuple[Tensor, Tensor], row: slice, column: slice) -> Tensor:
    distance, moment = moments
    place = torch.arange(distance.shape[-1], device=distance.device)[row]
    return 2 * (moment[..., column] - moment[..., row]) - (2 * place - 1) * (
        distance[..., column] - distance[..., row]
    )


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
        ctx.save_for_backward(alpha.argmax(-2), ordered, order)
        ctx.temperature = temperature
        return _unsort(alpha, order)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        subset, ordered, order = ctx.saved_tensors
        grad_alpha = grads[0].gather(-1, order.unsqueeze(-2).expand_as(grads[0]))
        grad_scores = None
        if ctx.needs_input_grad[1]:
            grad_ordered = _band_gradient(grad_alpha, subset, ordered, ctx.temperature)
            grad_scores = _unsort(grad_ordered, order)
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
    return _unsort(product, order)


def _band_product(
    alpha: Tensor, ordered: Tensor, temperature: Tensor | float, half_width: int
) -> Tensor:
    band = neural_sort_band(ordered, temperature, half_width, dtype=alpha.dtype)
    n, width = band.shape[-2:]
    # Column j of the matrix meets rows j - h to j + h: read the band along its antidiagonals.
    row = torch.arange(n + 2 * half_width, device=band.device).unfold(0, width, 1)
    index = row * width + torch.arange(width, device=band.device).flip(0)
    padded = F.pad(band, (0, 0, half_width, half_width)).flatten(-2)
    columns = padded.gather(-1, index.flatten().expand(*band.shape[:-2], -1)).view_as(band)
    windows = F.pad(alpha, (half_width, half_width)).unfold(-1, width, 1)
    return torch.stack([(w * columns).sum(-1) for w in windows.unbind(-3)], -2)


def _unsort(values: Tensor, order: Tensor) -> Tensor:
    order = order.view(*order.shape[:-1], *(1,) * (values.dim() - order.dim()), -1)
    return torch.empty_like(values).scatter_(-1, order.expand_as(values), values)


def _band_gradient(
    grad: Tensor, subset: Tensor, ordered: Tensor, temperature: Tensor | float
) -> Tensor:
    """Gradient for the ordered scores, given the gradient ``(*batch, K, n)`` for the partition."""
    shape, n = ordered.shape, ordered.shape[-1]
    ordered, subset = ordered.reshape(-1, n), subset.reshape(-1, n)
    grad = grad.reshape(-1, *grad.shape[-2:])
    half_width = band_half_width(ordered, temperature, torch.finfo(grad.dtype).eps)
    width = 2 * half_width + 1
    windows = F.pad(grad, (half_width, half_width)).unfold(-1, width, 1)  # (B, K, n, width)
    result = torch.zeros_like(ordered)
    place = torch.arange(max(n, len(ordered)), device=ordered.device)
    for batch, rows in _chunks(len(ordered), n, width):
        near = slice(max(0, rows.start - half_width), min(n, rows.stop + half_width))
        local = slice(rows.start - near.start, rows.stop - near.start)
        grad_band = windows[place[batch, None], subset[batch, rows], place[rows]]
        with torch.enable_grad():
            part = ordered[batch, near].detach().requires_grad_()
            band = neural_sort_band(part, temperature, half_width, local, grad.dtype)
        result[batch, near] += torch.autograd.grad(band, part, grad_band)[0]
    return result.view(shape)


def _chunks(batch: int, n: int, width: int) -> Iterator[tuple[slice, slice]]:
    """Whole batch elements while several fit, else rows of one."""
    batch_step = max(1, _CHUNK // (n * width))
    row_step = n if batch_step > 1 else max(1, _CHUNK // width)
    for b in range(0, batch, batch_step):
        for i in range(0, n, row_step):
            yield slice(b, min(batch, b + batch_step)), slice(i, min(n, i + row_step))
