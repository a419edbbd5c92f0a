# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Posteriors of two views: how far they are apart, and what they agree on.

All functions take the means and variances of both views, shape ``(B, 2, d)``, and work dim by dim.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

__all__ = ["Average", "Posterior", "aggregate", "average", "symmetric_divergence"]

Average = Literal["gvae", "mlvae"]

_SMALLEST_DIVERGENCE = 1e-6


class Posterior(NamedTuple):
    """Independent normal distributions.

    Attributes:
        mean: Shape ``(B, 2, d)``, or ``(B, 1, d)`` for one that both views share.
        variance: The same shape.
    """

    mean: Tensor
    variance: Tensor


def symmetric_divergence(views: Posterior) -> Tensor:
    r"""Mean of both KL divergences between the two views, dim by dim.

    .. math::
        \tfrac12 KL(q_1 || q_2) + \tfrac12 KL(q_2 || q_1) = \tfrac14 \Big[
        \frac{(\sigma_1^2 - \sigma_2^2)^2}{\sigma_1^2 \sigma_2^2}
        + (\mu_1 - \mu_2)^2 \Big(\frac1{\sigma_1^2} + \frac1{\sigma_2^2}\Big) \Big]

    Returns:
        Shape ``(B, d)``, at least 1e-6, so that it has a logarithm where the views agree.
    """
    (mean_1, mean_2), (var_1, var_2) = (values.unbind(1) for values in views)
    of_variances = (var_1 - var_2).square() / (var_1 * var_2)
    of_means = (mean_1 - mean_2).square() * (1 / var_1 + 1 / var_2)
    return ((of_variances + of_means) / 4).clamp(min=_SMALLEST_DIVERGENCE)


def average(views: Posterior, kind: Average = "gvae") -> Posterior:
    r"""The posterior that both views share where they agree.

    Args:
        views: Shapes ``(B, 2, d)``.
        kind: ``"gvae"`` takes the means of both means and of both variances, ``"mlvae"`` the
            normalised product of both densities, of precision
            :math:`\sigma_1^{-2} + \sigma_2^{-2}`.

    Returns:
        Shapes ``(B, 1, d)``.

    Raises:
        ValueError: If ``kind`` is neither of the two.

    References:
        GVAE: Hosoya, H.: Group-based learning of disentangled representations with
        generalizability for novel contents. IJCAI 2019.
        ML-VAE: Bouchacourt, D., Tomioka, R., Nowozin, S.: Multi-level variational autoencoder.
        AAAI 2018.
    """
    if kind == "gvae":
        return Posterior(views.mean.mean(1, keepdim=True), views.variance.mean(1, keepdim=True))
    if kind == "mlvae":
        precision = 1 / views.variance
        variance = 1 / precision.sum(1, keepdim=True)
        return Posterior(variance * (precision * views.mean).sum(1, keepdim=True), variance)
    raise ValueError(f"average must be one of {', '.join(get_args(Average))}, but is {kind!r}")


def aggregate(views: Posterior, shared: Tensor, kind: Average = "gvae") -> Posterior:
    """Replace the posteriors of both views by their average in the dims that they share.

    Args:
        views: Shapes ``(B, 2, d)``.
        shared: Indicators, 0 or 1, shape ``(B, d)``.
        kind: The average, see :func:`average`.

    Returns:
        Shapes ``(B, 2, d)``.
    """
    common = average(views, kind)
    weight = shared.unsqueeze(1)
    return Posterior(
        torch.lerp(views.mean, common.mean.expand_as(views.mean), weight),
        torch.lerp(views.variance, common.variance.expand_as(views.variance), weight),
    )
