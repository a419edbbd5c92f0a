# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Other ways to differentiate through sorting and subsets, written here from their formulas.

They are what this library is compared with in :mod:`benchmarks.scaling` and
:mod:`benchmarks.subsets`. No package of LapSum, SIMPLE, I-MLE and SFESS was found. softtorch, which
needs Python 3.12, has soft ranks, with which those here agree.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from sklearn.isotonic import isotonic_regression
from torch import Tensor

__all__ = ["imle_gradient", "lapsum_partition", "largest", "simple_marginals", "soft_ranks"]


def lapsum_partition(scores: Tensor, sizes: Tensor, scale: float) -> Tensor:
    r"""A soft partition of given sizes by sums of Laplace distribution functions, in O(n log n).

    With :math:`F` the distribution function of the Laplace law, the threshold :math:`t_k` solves
    :math:`\sum_i F((x_i - t_k) / \alpha) = n_1 + \dots + n_k`; an element's share of the first
    :math:`k` subsets is its term.

    Source: Struski et al., LapSum: one method to differentiate them all, ICML 2025.

    Args:
        scores: Shape ``(*batch, n)``; the first subset gets the highest.
        sizes: Integers ``(K,)``, at least 1 each.
        scale: The scale ``alpha`` of the law.

    Returns:
        Shape ``(*batch, K, n)``; columns add up to 1 and rows to the sizes.
    """
    bounds = sizes.cumsum(0)[:-1].to(scores.dtype)
    x = scores / scale
    threshold = _thresholds(x.detach(), bounds).unsqueeze(-1)
    missing = _share(x.unsqueeze(-2), threshold).sum(-1, keepdim=True) - bounds.unsqueeze(-1)
    density = (-(x.detach().unsqueeze(-2) - threshold).abs()).exp().sum(-1, keepdim=True) / 2
    threshold = threshold + missing / density  # a step of Newton's method has the derivatives
    first = F.pad(_share(x.unsqueeze(-2), threshold), (0, 0, 1, 0))
    return F.pad(first, (0, 0, 0, 1), value=1.0).diff(dim=-2)


def _share(x: Tensor, threshold: Tensor) -> Tensor:
    """``F(x - t)``."""
    tail = (-(x - threshold).abs()).exp() / 2
    return torch.where(x > threshold, 1 - tail, tail)


def _thresholds(x: Tensor, bounds: Tensor) -> Tensor:
    """Where the shares add up to the bounds, shape ``(*batch, K - 1)``.

    Between two scores the sum is linear in ``e^t`` and ``e^(-t)``.
    """
    n = x.shape[-1]
    x = x.sort(descending=True).values
    above = (x + (-x).logcumsumexp(-1)).exp()  # at each score
    below = x.flip(-1).logcumsumexp(-1).flip(-1)[..., 1:] - x[..., :-1]
    below = F.pad(below.exp(), (0, 1))
    at_scores = torch.arange(1, n + 1, device=x.device) - above / 2 + below / 2
    bounds = bounds.expand(*x.shape[:-1], -1).contiguous()
    j = torch.searchsorted(at_scores, bounds, right=True)
    x_j, a, b = (y.gather(-1, (j - 1).clamp(min=0)) for y in (x, above, below))
    more = j - bounds
    root = (more.square() + a * b).sqrt()
    # The same root twice, each without cancellation.
    between = torch.where(more > 0, (more + root) / a, b / (root - more))
    beyond_all = (1 + below[..., :1]) / (2 * bounds)
    return x_j + torch.where(j > 0, between, beyond_all).log()


def soft_ranks(scores: Tensor, strength: float) -> Tensor:
    """Ranks projected onto the permutahedron, in O(n log n).

    Source: Blondel et al., Fast differentiable sorting and ranking, ICML 2020, with the quadratic
    regularisation.

    Args:
        scores: Shape ``(n,)``.
        strength: Of the regularisation.
    """
    ranks: Tensor = _SoftRanks.apply(scores / strength)
    return ranks


class _SoftRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        ordered, order = z.sort(descending=True)
        n = len(z)
        falling = torch.arange(n, 0, -1, dtype=z.dtype, device=z.device)
        dual = isotonic_regression((ordered - falling).cpu().numpy(), increasing=False)
        dual = torch.from_numpy(dual.copy()).to(z)
        ctx.save_for_backward(order, (dual.diff() != 0).cumsum(0))
        return torch.empty_like(z).scatter(0, order, ordered - dual)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        order, block = ctx.saved_tensors
        block = F.pad(block, (1, 0))
        grad = grads[0][order]
        sums = grad.new_zeros(len(order)).index_add(0, block, grad)
        mean = (sums / block.bincount(minlength=len(order)).clamp(min=1))[block]
        return torch.empty_like(grad).scatter(0, order, grad - mean)


def simple_marginals(theta: Tensor, size: int) -> Tensor:
    r"""Probabilities that elements are in a subset of a given size, in O(n k).

    The mass of a subset is proportional to the product of its :math:`e^{\theta_i}`; probabilities
    are the derivatives of the logarithm of the sum over all subsets.

    Source: Ahmed et al., SIMPLE: a gradient estimator for k-subset sampling, ICLR 2023.

    Args:
        theta: Shape ``(*batch, n)``.
        size: Size ``k`` of the subset.

    Returns:
        Shape ``(*batch, n)``, differentiable.
    """
    with torch.enable_grad():
        theta = theta if theta.requires_grad else theta.detach().requires_grad_()
        log_sums = torch.zeros_like(theta[..., :1])  # over the subsets of the first, by their size
        for log_weight in theta.unbind(-1):
            with_it = log_sums + log_weight.unsqueeze(-1)
            joined = log_sums[..., 1:].logaddexp(with_it[..., :-1])
            log_sums = torch.cat([log_sums[..., :1], joined, with_it[..., -1:]], -1)
            log_sums = log_sums[..., : size + 1]
        (marginals,) = torch.autograd.grad(log_sums[..., -1].sum(), theta, create_graph=True)
    return marginals


def imle_gradient(perturbed: Tensor, size: int, slopes: Tensor, strength: float) -> Tensor:
    """Difference between the best subset and that of weights that are moved against the slopes.

    Source: Niepert et al., Implicit MLE, NeurIPS 2021, by perturb-and-MAP.

    Args:
        perturbed: Weights with noise, shape ``(*batch, n)``.
        size: Size ``k`` of the subset.
        slopes: Those of the function at the best subset, likewise.
        strength: How far weights are moved, ``lambda``.
    """
    best, moved = (largest(x, size) for x in (perturbed, perturbed - strength * slopes))
    return (best - moved) / strength


def largest(values: Tensor, size: int) -> Tensor:
    """Indicators of the ``k`` largest of ``(*batch, n)``."""
    return torch.zeros_like(values).scatter(-1, values.topk(size).indices, 1.0)
