# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Normal distribution of an element whose parameters are those of its subset."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import (
    Categorical,
    Distribution,
    Independent,
    MultivariateNormal,
    Normal,
    constraints,
)
from torch.distributions.kl import kl_divergence, register_kl

__all__ = ["SubsetNormal", "divergences"]


class SubsetNormal(TorchDistribution):
    r"""Distribution of ``z_i`` given the subset of element ``i``.

    With one-hot rows of ``membership`` the density is :math:`N(z_i; \mu_{y_i}, \Sigma_{y_i})`. The
    log density is linear in the membership,

    .. math:: \log p(z_i | y_i) = \sum_k y_{ik} \log N(z_i; \mu_k, \Sigma_k),

    and so is the KL divergence from a normal distribution, registered below. An expectation over
    partitions therefore needs their mean membership alone: with it, ``log_prob`` is the *expected*
    log density, and ``sample`` draws the subset first.

    Args:
        membership: Subset of every element, one-hot or the mean of several partitions, shape
            ``(n, K)``.
        subsets: Normal distributions of the subsets, batch shape ``(K,)``, event shape ``(l,)``:
            independent in the coordinates, or a multivariate normal.
        validate_args: Whether to check the arguments.

    Example:
        >>> subsets = Independent(Normal(torch.tensor([[0.0], [4.0]]), torch.ones(2, 1)), 1)
        >>> z = SubsetNormal(torch.tensor([[0.0, 1.0]]), subsets)
        >>> bool(z.log_prob(torch.tensor([[3.0]])) == Normal(4.0, 1.0).log_prob(torch.tensor(3.0)))
        True
    """

    arg_constraints = {"membership": constraints.independent(constraints.nonnegative, 1)}
    support = constraints.real_vector

    def __init__(
        self, membership: Tensor, subsets: Distribution, validate_args: bool | None = None
    ) -> None:
        self.membership, self.subsets = membership, subsets
        super().__init__(membership.shape[:-1], subsets.event_shape, validate_args=validate_args)

    def expand(
        self, batch_shape: Sequence[int], _instance: SubsetNormal | None = None
    ) -> SubsetNormal:
        membership = self.membership.expand(*batch_shape, -1)
        return type(self)(membership, self.subsets, validate_args=False)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        with torch.no_grad():
            subset = Categorical(self.membership).sample(torch.Size(sample_shape))
            draws = self.subsets.sample(subset.shape)  # of all subsets, (*sample, n, K, l)
            index = subset[..., None, None].expand(*subset.shape, 1, draws.shape[-1])
            return draws.gather(-2, index).squeeze(-2)

    def log_prob(self, value: Tensor) -> Tensor:
        return (self.membership * self.subsets.log_prob(value.unsqueeze(-2))).sum(-1)


def divergences(q: Independent, subsets: Distribution) -> Tensor:
    """KL divergence from every normal distribution to every subset's.

    Args:
        q: Independent normal distributions, batch shape ``(n,)``, event shape ``(l,)``.
        subsets: As for :class:`SubsetNormal`.

    Returns:
        Shape ``(n, K)``.
    """
    loc, scale = q.base_dist.loc.unsqueeze(-2), q.base_dist.scale.unsqueeze(-2)
    if isinstance(subsets, MultivariateNormal):
        elements = MultivariateNormal(loc, scale_tril=scale.diag_embed(), validate_args=False)
        return kl_divergence(elements, subsets)
    return kl_divergence(Independent(Normal(loc, scale), 1), subsets)


@register_kl(Independent, SubsetNormal)
def _kl_independent_subset_normal(q: Independent, p: SubsetNormal) -> Tensor:
    return (p.membership * divergences(q, p.subsets)).sum(-1)
