# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Exact divergences between laws of the subset sizes, for ``torch.distributions.kl_divergence``."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import register_kl

from pyro_drpm.distributions.fixed_sizes import FixedSizes
from pyro_drpm.distributions.hypergeometric import MultivariateFisherHypergeometric
from pyro_drpm.distributions.pitman_yor_sizes import PitmanYorSizes
from pyro_drpm.distributions.size_distribution import SizeDistribution
from pyro_drpm.ops.sizes.normalizer import mean_counts

__all__: list[str] = []


@register_kl(SizeDistribution, SizeDistribution)
@register_kl(PitmanYorSizes, PitmanYorSizes)
def _kl_by_marginals(q: SizeDistribution, p: SizeDistribution) -> Tensor:
    """Both log-masses are sums over subsets; infinite where ``p`` has no mass but ``q`` has."""
    marginals = q.marginals()
    divergence = q.expected_log_mass(marginals) - p.expected_log_mass(marginals)
    return _full(divergence, q, p)


@register_kl(MultivariateFisherHypergeometric, MultivariateFisherHypergeometric)
def _kl_of_fisher(
    q: MultivariateFisherHypergeometric, p: MultivariateFisherHypergeometric
) -> Tensor:
    """Where the binomial coefficients are the same, means are enough."""
    if q._is_bounded or p._is_bounded:
        return _kl_by_marginals(q, p)
    mean = mean_counts(q._log_omega, q._maximum, q.total_count)
    log_ratio = q._log_omega.double() - p._log_omega.double()
    divergence = (mean * log_ratio).sum(-1) - q._log_normalizer() + p._log_normalizer()
    return _full(divergence, q, p)


@register_kl(SizeDistribution, PitmanYorSizes)
def _kl_to_restaurant(q: SizeDistribution, p: PitmanYorSizes) -> Tensor:
    """Infinite: ``q`` may leave a subset empty before one that is not, and ``p`` does not."""
    return _full(torch.full((), torch.inf, device=q.device), q, p)


@register_kl(FixedSizes, PitmanYorSizes)
@register_kl(FixedSizes, SizeDistribution)
def _kl_of_fixed_sizes(q: FixedSizes, p: SizeDistribution) -> Tensor:
    """With the gradient of the log-mass continued to real counts, for sizes that have one."""
    return _full(-p.log_mass(q._sizes), q, p)


def _full(divergence: Tensor, q: SizeDistribution, p: SizeDistribution) -> Tensor:
    shape = torch.broadcast_shapes(q.batch_shape, p.batch_shape)
    return divergence.to(q.dtype).expand(shape)
