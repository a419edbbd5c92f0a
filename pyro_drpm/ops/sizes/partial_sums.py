# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

r"""Laws of the sums of independent counts, from the last backwards.

With :math:`m_k` the law of a count and :math:`R_k = m_k * R_{k+1}` that of it and all later ones,
a gradient ``G`` of :math:`R_k` is passed on as the correlation
:math:`H(l) = \sum_j G(j) \, m_k(j - l)` to :math:`R_{k+1}`. Another one would pass it on to
:math:`m_k`; but where the log-odds :math:`a_k` tilt the counts,
:math:`\partial m_k(x) / \partial a_k = x \, m_k(x)`, the gradient of :math:`a_k` needs sums alone,

.. math::
    \sum_{j, l} G(j) \, (j - l) \, m_k(j - l) \, R_{k+1}(l)
    = \sum_j j \, G(j) \, R_k(j) - \sum_l l \, H(l) \, R_{k+1}(l) .

The laws are convolved directly: small probabilities are then as accurate as large ones. Gradients
may go through a Fourier transform, whose round-off is relative to the largest entry, if they are
all of one size. The gradients of log-probabilities are not: they grow as ``1 / p``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_drpm.ops.convolution import (
    conjugate_spectrum,
    convolve_values,
    correlate,
    fast_correlate,
)
from pyro_drpm.ops.overrides import overridable

__all__ = ["differentiable_laws", "partial_sums"]


def partial_sums(mass: Tensor, offset: int) -> Tensor:
    """Windows of the laws of ``B_k + ... + B_K``.

    Args:
        mass: Windows of the laws of ``B_k``, shape ``(*batch, K, w)``.
        offset: Where the window of a convolution starts, minus the sum of the starts of its two
            operands' windows.

    Returns:
        Shape ``(*batch, K, w)``; row 0 is empty. Not differentiated.
    """
    # In place: rows that are kept among what a convolution frees would tear the memory to pieces.
    rest = torch.zeros_like(mass)
    rest[..., 1:, :] = mass[..., 1:, :]
    for k in reversed(range(1, mass.shape[-2] - 1)):
        later = rest[..., k + 1, :]
        rest[..., k, :] = convolve_values(mass[..., k, :], later, offset, mass.shape[-1])
    return rest


@overridable
def differentiable_laws(
    log_odds: Tensor, mass: Tensor, rest: Tensor, mass_start: Tensor, offset: int, fast: bool
) -> tuple[Tensor, Tensor]:
    """The laws of the counts and of their partial sums with gradients for the log-odds.

    Args:
        log_odds: Natural parameters ``a_k``, shape ``(*batch, K)``, which all gradients go to.
        mass: Windows of the laws of ``B_k``, proportional to ``exp(x a_k)`` with a factor that
            counts as constant, shape ``(*batch, K, w)``.
        rest: Their :func:`partial_sums`.
        mass_start: Counts at the left edges of the windows, shape ``(*batch, K)``.
        offset: As for the partial sums.
        fast: Whether gradients go through a Fourier transform, whose round-off is relative to the
            largest of them.

    Returns:
        ``mass`` and ``rest``. Any number of times differentiable.
    """
    result: tuple[Tensor, Tensor] = _Laws.apply(log_odds, mass, rest, mass_start, offset, fast)
    return result


class _Laws(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(
        log_odds: Tensor, mass: Tensor, rest: Tensor, mass_start: Tensor, offset: int, fast: bool
    ) -> tuple[Tensor, Tensor]:
        return mass.view_as(mass), rest.view_as(rest)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        *_, mass_start, ctx.offset, ctx.fast = inputs
        ctx.save_for_backward(*output, mass_start)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        mass, rest, mass_start = ctx.saved_tensors
        num_counts, width = mass.shape[-2:]
        received = list(grads[1].unbind(-2))
        passed_on = [torch.zeros_like(received[0])] * num_counts
        # R_1 is not among the tables, and R_K is the law of the last count itself.
        for k, passed in enumerate(_correlations(mass[..., 1:-1, :], ctx), start=1):
            passed_on[k] = passed(received[k])
            received[k + 1] = received[k + 1] + passed_on[k]
        place = torch.arange(width, device=mass.device).to(mass)
        # R_K has the window of the last count, which no offset has shifted.
        is_sum = torch.arange(num_counts, device=mass.device) < num_counts - 1
        start = (mass_start + ctx.offset * is_sum).unsqueeze(-1)
        of_counts = grads[0] * mass * (place + mass_start.unsqueeze(-1))
        of_sums = torch.stack(received, -2) * rest * (place + start)
        of_later = torch.stack(passed_on, -2) * F.pad(rest[..., 1:, :], (0, 0, 0, 1)) * place
        return (of_counts + of_sums - of_later).sum(-1), None, None, None, None, None


def _correlations(mass: Tensor, ctx: Any) -> list[Callable[[Tensor], Tensor]]:
    """Functions that correlate a gradient with the law of each count."""
    width = mass.shape[-1]
    if not ctx.fast:
        return [partial(correlate, b=row, first=ctx.offset, width=width) for row in mass.unbind(-2)]
    if not mass.shape[-2]:  # MKL does not transform nothing
        return []
    spectra = conjugate_spectrum(mass, width).unbind(-2)
    return [partial(fast_correlate, spectrum=row, first=ctx.offset) for row in spectra]
