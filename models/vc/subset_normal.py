# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Normal distribution of an element whose parameters are those of its subset."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Categorical, Independent, Normal, constraints
from torch.distributions.kl import kl_divergence, register_kl

__all__ = ["SubsetNormal", "divergences"]


class SubsetNormal(TorchDistribution):
    r"""Distribution of ``z_i`` given the subset of element ``i``.

    With one-hot rows of ``membership`` the density is :math:`N(z_i; \mu_{y_i}, \sigma_{y_i})`. The
    log density is linear in the membership,

    .. math:: \log p(z_i | y_i) = \sum_k y_{ik} \log N(z_i; \mu_k, \mathrm{diag}(\sigma_k^2)),

    and so is the KL divergence from a normal distribution, registered below. An expectation over
    partitions therefore needs their mean membership alone: with it, ``log_prob`` is the *expected*
    log density, and ``sample`` draws the subset first.

    Args:
        membership: Subset of every element, one-hot or the mean of several partitions, shape
            ``(n, K)``.
        loc: Means of the subsets, shape ``(K, l)``.
        scale: Standard deviations of the subsets, shape ``(K, l)``.
        validate_args: Whether to check the arguments.

    Example:
        >>> loc, scale = torch.tensor([[0.0], [4.0]]), torch.ones(2, 1)
        >>> z = SubsetNormal(torch.tensor([[0.0, 1.0]]), loc, scale)
        >>> bool(z.log_prob(torch.tensor([[3.0]])) == Normal(4.0, 1.0).log_prob(torch.tensor(3.0)))
        True
    """

    arg_constraints = {
        "membership": constraints.independent(constraints.nonnegative, 1),
        "loc": constraints.independent(constraints.real, 2),
        "scale": constraints.independent(constraints.positive, 2),
    }
    support = constraints.real_vector

    def __init__(
        self, membership: Tensor, loc: Tensor, scale: Tensor, validate_args: bool | None = None
    ) -> None:
        self.membership, self.loc, self.scale = membership, loc, scale
        super().__init__(membership.shape[:-1], loc.shape[-1:], validate_args=validate_args)

    def expand(
        self, batch_shape: Sequence[int], _instance: SubsetNormal | None = None
    ) -> SubsetNormal:
        membership = self.membership.expand(*batch_shape, -1)
        return type(self)(membership, self.loc, self.scale, validate_args=False)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        with torch.no_grad():
            subset = Categorical(self.membership).sample(torch.Size(sample_shape))
            return Normal(self.loc[subset], self.scale[subset]).sample()

    def log_prob(self, value: Tensor) -> Tensor:
        subsets = Independent(Normal(self.loc, self.scale), 1)
        return (self.membership * subsets.log_prob(value.unsqueeze(-2))).sum(-1)


def divergences(q: Independent, loc: Tensor, scale: Tensor) -> Tensor:
    """KL divergence from every normal distribution to every subset's.

    Args:
        q: Independent normal distributions, batch shape ``(n,)``, event shape ``(l,)``.
        loc: Means of the subsets, shape ``(K, l)``.
        scale: Standard deviations of the subsets, shape ``(K, l)``.

    Returns:
        Shape ``(n, K)``.
    """
    elements = Normal(q.base_dist.loc.unsqueeze(-2), q.base_dist.scale.unsqueeze(-2))
    return kl_divergence(elements, Normal(loc, scale)).sum(-1)


@register_kl(Independent, SubsetNormal)
def _kl_independent_subset_normal(q: Independent, p: SubsetNormal) -> Tensor:
    return (p.membership * divergences(q, p.loc, p.scale)).sum(-1)
