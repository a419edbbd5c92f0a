# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Logarithms of binomial coefficients that keep their digits where both arguments are large."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_drpm.ops import host

__all__ = ["log_binomial"]

# From here on Stirling's series with two terms is accurate to the last digit.
_LARGE = 512


def log_binomial(n: Tensor, k: Tensor) -> Tensor:
    """``log C(n, k)``, continued to real arguments by the gamma function.

    Args:
        n: Not negative, float64; broadcastable with ``k``, and not differentiated.
        k: From 0 to ``n``, float64.

    Returns:
        Float64.
    """
    value = torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
    if host.is_at_hand(n) and not (n >= _LARGE).any():
        return value
    # The derivative of that is accurate, but the value is a difference of large numbers.
    correction = torch.where(n >= _LARGE, _log_binomial_of_many(n, k.detach()) - value.detach(), 0)
    return value + correction


@torch.no_grad()
def _log_binomial_of_many(n: Tensor, k: Tensor) -> Tensor:
    r"""The same for large ``n``, term by term of Stirling's series, without gradients.

    It is :math:`\log \Gamma(x) / \Gamma(y) - \log \Gamma(j + 1)` with :math:`j = \min(k, n - k)`,
    :math:`x = n + 1` and :math:`y = x - j`.
    """
    j = torch.minimum(k, n - k)
    x, y = n + 1, n - j + 1
    rest = (1 / 12 - 1 / (360 * x * x)) / x - (1 / 12 - 1 / (360 * y * y)) / y
    return j * (x.log() - 1) + (y - 0.5) * (j / y).log1p() + rest - torch.lgamma(j + 1)
