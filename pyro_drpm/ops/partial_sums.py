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

The laws are convolved directly, so that small probabilities are as accurate as large ones;
gradients are added up and may go through a Fourier transform.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_drpm.ops.convolution import conjugate_spectrum, convolve_values, fast_correlate
from pyro_drpm.ops.overrides import overridable

__all__ = ["partial_sums"]


@overridable
def partial_sums(log_odds: Tensor, mass: Tensor, mass_start: Tensor, offset: int) -> Tensor:
    """Windows of the laws of ``B_k + ... + B_K``.

    Args:
        log_odds: Natural parameters ``a_k``, shape ``(*batch, K)``, which all gradients go to.
        mass: Windows of the laws of ``B_k``, proportional to ``exp(x a_k)`` with a factor that
            counts as constant, shape ``(*batch, K, w)``.
        mass_start: Counts at the left edges of the windows, shape ``(*batch, K)``.
        offset: What the edge of a result's window exceeds the sum of both its operands' by.

    Returns:
        Shape ``(*batch, K, w)``; row 0 is empty. Any number of times differentiable.
    """
    result: Tensor = _PartialSums.apply(log_odds, mass, mass_start, offset)
    return result


class _PartialSums(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, log_odds: Tensor, mass: Tensor, mass_start: Tensor, offset: int
    ) -> Tensor:
        _, *rows = mass.unbind(-2)
        for k in reversed(range(len(rows) - 1)):
            rows[k] = convolve_values(rows[k], rows[k + 1], offset, mass.shape[-1])
        rest = torch.stack([torch.zeros_like(mass[..., 0, :]), *rows], -2)
        ctx.save_for_backward(mass, rest, mass_start)
        ctx.offset = offset
        return rest

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        mass, rest, mass_start = ctx.saved_tensors
        num_counts, width = mass.shape[-2:]
        # The first count is in no sum, and the last one is its own. MKL does not transform nothing.
        between = mass[..., 1:-1, :]
        spectra = conjugate_spectrum(between, width).unbind(-2) if num_counts > 2 else ()
        received = list(grads[0].unbind(-2))
        passed_on = [torch.zeros_like(received[0])] * num_counts
        for k, spectrum in enumerate(spectra, start=1):
            passed_on[k] = fast_correlate(received[k], spectrum, ctx.offset)
            received[k + 1] = received[k + 1] + passed_on[k]
        place = torch.arange(width, device=mass.device).to(mass)
        # The law of the last count is that of the sum of it and none.
        is_sum = torch.arange(num_counts, device=mass.device) < num_counts - 1
        start = (mass_start + ctx.offset * is_sum).unsqueeze(-1)
        of_sums = torch.stack(received, -2) * rest * (place + start)
        of_later = torch.stack(passed_on, -2) * F.pad(rest[..., 1:, :], (0, 0, 0, 1)) * place
        return (of_sums - of_later).sum(-1), None, None, None
