# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Normal distribution of two vectors that have some of their coordinates in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pyro.distributions import Normal, TorchDistribution
from torch import Tensor
from torch.distributions import constraints, kl_divergence, register_kl

__all__ = ["PairNormal", "SharedLatents", "pair_normal"]

SharedLatents = Literal["once", "per-view"]


def pair_normal(
    loc: Tensor, scale: Tensor, shared: Tensor, shared_latents: SharedLatents
) -> TorchDistribution:
    """Give the normal distribution of the latent variables of pairs.

    Args:
        loc: Means, the same for both views in the dims that are shared, shape ``(*batch, 2, d)``.
        scale: Standard deviations, likewise.
        shared: Indicators of shared dims, shape ``(*batch, d)``.
        shared_latents: Whether a shared dim is ``"once"`` one variable of both views, or as in the
            paper's equations a variable ``"per-view"`` of the same law, whose divergence then
            counts twice.
    """
    if shared_latents == "once":
        return PairNormal(loc, scale, shared)
    return Normal(loc, scale).expand(shared.shape[:-1] + loc.shape[-2:]).to_event(2)


class PairNormal(TorchDistribution):
    r"""Latent variables of a pair of views: one for both views in the dims that are shared.

    With :math:`c_j = 1` where dim :math:`j` is shared,

    .. math::
        \log p(z_1, z_2) = \sum_j c_j \log N(z_{1j}; \mu_{1j}, \sigma_{1j}^2)
        + (1 - c_j) \sum_v \log N(z_{vj}; \mu_{vj}, \sigma_{vj}^2)

    on the pairs with :math:`z_{1j} = z_{2j}` wherever :math:`c_j = 1`. A shared dim counts once, in
    this density as in the KL divergence. Both are linear in :math:`c`, so that gradients flow into
    a straight-through indicator.

    Args:
        loc: Means, the same for both views in the dims that are shared, shape ``(*batch, 2, d)``.
        scale: Standard deviations, likewise.
        shared: Indicators :math:`c`, 0 or 1, shape ``(*batch, d)``.
        validate_args: Whether to check the arguments.

    Example:
        >>> pair = PairNormal(torch.zeros(2, 3), torch.ones(2, 3), torch.tensor([1.0, 0.0, 1.0]))
        >>> z = pair.sample()
        >>> (z[0] == z[1]).tolist()
        [True, False, True]
    """

    arg_constraints = {
        "loc": constraints.independent(constraints.real, 2),
        "scale": constraints.independent(constraints.positive, 2),
        "shared": constraints.independent(constraints.unit_interval, 1),
    }
    support = constraints.independent(constraints.real, 2)
    has_rsample = True

    def __init__(
        self, loc: Tensor, scale: Tensor, shared: Tensor, validate_args: bool | None = None
    ) -> None:
        batch_shape = torch.broadcast_shapes(loc.shape[:-2], shared.shape[:-1])
        self.loc = loc.expand(*batch_shape, -1, -1)
        self.scale = scale.expand(*batch_shape, -1, -1)
        self.shared = shared.expand(*batch_shape, -1)
        super().__init__(batch_shape, loc.shape[-2:], validate_args=validate_args)

    def expand(self, batch_shape: Sequence[int], _instance: PairNormal | None = None) -> PairNormal:
        loc, scale = (t.expand(*batch_shape, -1, -1) for t in (self.loc, self.scale))
        return type(self)(loc, scale, self.shared.expand(*batch_shape, -1), validate_args=False)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        shape = torch.Size(sample_shape) + self.batch_shape + self.event_shape
        noise = torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)
        # The first view's noise serves both.
        noise = torch.where(self.shared.unsqueeze(-2) > 0.5, noise[..., :1, :], noise)
        return self.loc + self.scale * noise

    def log_prob(self, value: Tensor) -> Tensor:
        return _once(Normal(self.loc, self.scale).log_prob(value), self.shared)


@register_kl(PairNormal, PairNormal)
def _kl_pair_normal_pair_normal(q: PairNormal, p: PairNormal) -> Tensor:
    """Divergence where both share the same dims."""
    return _once(kl_divergence(Normal(q.loc, q.scale), Normal(p.loc, p.scale)), q.shared)


def _once(terms: Tensor, shared: Tensor) -> Tensor:
    """Sum the terms ``(*, 2, d)`` of both views, those of shared dims of the first view only."""
    first, second = terms.unbind(-2)
    return (first + (1 - shared) * second).sum(-1)
