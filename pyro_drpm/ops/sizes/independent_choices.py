# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

r"""How large the subsets are if each element chooses one on its own.

With the probabilities :math:`p_{ki}` of the choices the sizes have the means :math:`\sum_i p_{ki}`
and the variances :math:`c_k = \sum_i p_{ki} (1 - p_{ki})`. They add up to ``n``, as independent
normal variables do after conditioning on their sum; for these to have the variances :math:`c_k`
they need larger ones before,

.. math:: v_k - v_k^2 / \sum_l v_l = c_k.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["log_choice_potentials"]

# Where two subsets share all doubt, each step halves the error. Where one shares in the doubt of
# all others, its variance before has no bound, and grows until it is large enough.
_STEPS = 30
# A variance of 0 is one of counts that are certain.
_LEAST_VARIANCE = 1e-3


def log_choice_potentials(log_w: Tensor) -> Tensor:
    r"""Normal approximation of the law of the sizes, :math:`-(x - m_k)^2 / (2 v_k)`.

    Args:
        log_w: Logarithms of what the probabilities are proportional to, shape ``(*batch, K, n)``.

    Returns:
        For counts ``x`` from 0 to ``n``, shape ``(*batch, K, n + 1)``, float64.
    """
    probs = log_w.double().softmax(-2)
    mean, variance = probs.sum(-1), (probs * (1 - probs)).sum(-1)
    free = variance = variance.clamp(min=_LEAST_VARIANCE)
    for _ in range(_STEPS):
        free = variance + free.square() / free.sum(-1, keepdim=True)
    counts = torch.arange(log_w.shape[-1] + 1, dtype=torch.float64, device=log_w.device)
    return -(counts - mean.unsqueeze(-1)).square() / (2 * free.unsqueeze(-1))
