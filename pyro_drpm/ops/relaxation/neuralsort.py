# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

r"""NeuralSort, the relaxed sorting operator, applied to partitions.

Row :math:`i` of the relaxed permutation matrix of scores :math:`z` is

.. math:: \mathrm{softmax}_j \Big[ \frac{(n + 1 - 2i) z_j - \sum_l |z_j - z_l|}{\tau} \Big]

(Grover, Wang, Zweig, Ermon: Stochastic Optimization of Sorting Networks via Continuous
Relaxations, ICLR 2019, equation 5). Only a band of it is computed
(:mod:`pyro_drpm.ops.relaxation.band`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from pyro_drpm.ops.chunks import at_once
from pyro_drpm.ops.labels import subset_of_each, unsort
from pyro_drpm.ops.overrides import overridable
from pyro_drpm.ops.precision import full_precision, product
from pyro_drpm.ops.relaxation.band import (
    band_half_width,
    by_column,
    indices,
    neural_sort_band,
    reaches_all,
    whole_rows,
    windows,
)
from pyro_drpm.ops.transforms import transformed

__all__ = ["neural_sort", "permute_hard", "permute_relaxed"]

# Entries of the band that are held at a time, few enough for the cache of a CPU.
_CHUNK = 1 << 18


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
    if reaches_all(half_width, n):
        return product(alpha, whole_rows(ordered, temperature, slice(None), alpha.dtype))
    band = neural_sort_band(ordered, temperature, half_width, dtype=alpha.dtype)
    columns = by_column(band)[..., half_width : half_width + n, :]
    around = windows(alpha, half_width)
    return torch.stack([(w * columns).sum(-1) for w in around.unbind(-3)], -2)


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
    if reaches_all(half_width, n):
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
    n, index = ordered.shape[-1], indices(grad)

    def of_rows(batch: slice, rows: slice) -> Tensor:
        matrix = whole_rows(ordered[batch], temperature, rows, grad.dtype)
        own = subset[batch, rows].unsqueeze(-1).expand(-1, -1, n)
        slopes = _softmax_slopes(matrix, grad[batch].gather(-2, own))
        column_sum = slopes.sum(-2)
        moment = 2 * ((index - index[rows].unsqueeze(-1)) * slopes).sum(-2)
        return torch.stack([column_sum, moment], -1).to(ordered.dtype)

    parts: dict[int, Tensor] = {}
    for batch, rows in _chunks(ordered, n):
        part = of_rows(batch, rows)
        parts[batch.start] = parts[batch.start] + part if batch.start in parts else part
    return torch.cat(list(parts.values()))


def _sums_in_band(
    grad: Tensor, subset: Tensor, ordered: Tensor, temperature: Tensor | float, half_width: int
) -> Tensor:
    """The same from a narrow band."""
    n, width = ordered.shape[-1], 2 * half_width + 1
    around = windows(grad, half_width)  # (B, K, n, width)
    twice = 2 * half_width
    twice_offset = torch.arange(twice, -twice - 1, -2, dtype=grad.dtype, device=grad.device)
    sums = ordered.new_zeros(*ordered.shape, 2)
    place = torch.arange(max(n, len(ordered)), device=ordered.device)
    for batch, rows in _chunks(ordered, width):
        near = slice(max(0, rows.start - half_width), min(n, rows.stop + half_width))
        local = slice(rows.start - near.start, rows.stop - near.start)
        band = neural_sort_band(
            ordered[batch, near], temperature, half_width, local, dtype=grad.dtype
        )
        near_grad = around[place[batch, None], subset[batch, rows], place[rows]]
        # As _softmax_slopes, in place, since no transform comes here.
        slopes = near_grad.sub_((band * near_grad).sum(-1, keepdim=True)).mul_(band)
        first = near.start - rows.start + half_width
        columns = by_column(slopes)[:, first : first + near.stop - near.start]
        # Not a product of matrices, for which every row would be copied alone.
        sums[batch, near] += torch.stack([columns.sum(-1), columns.mul_(twice_offset).sum(-1)], -1)
    return sums


def _softmax_slopes(rows: Tensor, grad: Tensor) -> Tensor:
    """Gradient for the logits, given that for the rows of their softmax."""
    return rows * (grad - (rows * grad).sum(-1, keepdim=True))


def _chunks(ordered: Tensor, width: int) -> Iterator[tuple[slice, slice]]:
    """Whole elements of a batch ``(B, n)`` while several fit, else rows of one."""
    batch, n = ordered.shape
    chunk = at_once(_CHUNK, ordered)
    batch_step = max(1, chunk // (n * width))
    row_step = n if batch_step > 1 else max(1, chunk // width)
    for b in range(0, batch, batch_step):
        for i in range(0, n, row_step):
            yield slice(b, min(batch, b + batch_step)), slice(i, min(n, i + row_step))
