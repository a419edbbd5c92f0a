# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""What affinities between elements and subsets say about the sizes."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_drpm.distributions.fixed_sizes import FixedSizes
from pyro_drpm.distributions.potential_sizes import PotentialSizes
from pyro_drpm.distributions.size_distribution import SizeDistribution
from pyro_drpm.ops.sizes.independent_choices import log_choice_potentials

__all__ = ["sizes_given_affinities"]


def sizes_given_affinities(law: SizeDistribution, log_w: Tensor) -> SizeDistribution:
    r"""A law of the sizes after seeing how well each element fits each subset, approximately.

    .. math::
        p(n_0, \dots, n_{K-1} | w) \propto
        \prod_k f_k(n_k) \, n_k! \, \exp\Big( -\frac{(n_k - m_k)^2}{2 v_k} \Big)

    with the factors :math:`f_k` of the law. Before, all partitions of the same sizes are equally
    probable. Independent choices with probabilities proportional to :math:`w_{ki}` are taken to
    have normal sizes, with means :math:`m_k` and, before their sum is known to be ``n``, variances
    :math:`v_k`. For :meth:`pyro_drpm.DRPM.from_affinities`, in the guide of a mixture whose sizes
    are not known.

    Args:
        law: The law before.
        log_w: Logarithms of the affinities, shape ``(*batch, K, n)``.

    Returns:
        :class:`PotentialSizes`; a law of fixed sizes itself.

    Raises:
        ValueError: If the shapes do not fit, or the law is not of product form, as that of a
            Chinese restaurant.

    Example:
        >>> from pyro_drpm.distributions import MultinomialSizes
        >>> log_w = torch.tensor([[5.0, 5.0, 5.0, 0.0], [0.0, 0.0, 0.0, 5.0]])
        >>> sizes_given_affinities(MultinomialSizes(4, torch.ones(2)), log_w).mode
        tensor([3., 1.])
    """
    expected = (*law.event_shape, law.total_count)
    if tuple(log_w.shape[-2:]) != expected:
        raise ValueError(
            f"sizes_given_affinities: expected log_w of shape (*batch, {expected[0]}, "
            f"{expected[1]}) for {law!r}, but got {tuple(log_w.shape)}."
        )
    if isinstance(law, FixedSizes):
        return law
    if law.empty_last:
        raise ValueError(
            f"sizes_given_affinities: expected a law of product form, but got {law!r}, whose "
            "subsets are empty only if all later ones are."
        )
    counts = torch.arange(law.total_count + 1, dtype=torch.float64, device=log_w.device)
    potential = law.log_potential_table() + torch.lgamma(counts + 1)
    return PotentialSizes((potential + log_choice_potentials(log_w)).to(log_w.dtype))
