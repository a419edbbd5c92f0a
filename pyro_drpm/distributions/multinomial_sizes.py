# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The multinomial law of the subset sizes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import constraints

from pyro_drpm.distributions.arguments import log_weights
from pyro_drpm.distributions.size_distribution import SizeDistribution
from pyro_drpm.ops.sizes.mode import most_probable_counts_if_concave
from pyro_drpm.ops.sizes.multinomial import log_multinomial_normalizer, multinomial_tables
from pyro_drpm.ops.sizes.tables import SizeTables

__all__ = ["MultinomialSizes"]


class MultinomialSizes(SizeDistribution):
    r"""Multinomial law of the subset sizes.

    .. math:: p(n_0, \dots, n_{K-1}) \propto \prod_k \frac{\omega_k^{n_k}}{n_k!}

    In a :class:`~pyro_drpm.DRPM` with equal scores each element is in subset ``k`` with probability
    :math:`\omega_k / \sum_l \omega_l`, independently of the others; with equal weights, too, all
    :math:`K^n` partitions are as probable.

    Args:
        total_count: The number ``n`` of elements.
        omega: Importance weights, positive, shape ``(*batch, K)``.
        log_omega: Their logarithms, instead of ``omega``.
        minimum: Integers, the least that each subset holds, broadcastable with ``(*batch, K)``.
        maximum: Integers, the most, likewise.
        validate_args: Whether to check values.

    Raises:
        ValueError: As for :class:`~pyro_drpm.MultivariateFisherHypergeometric`.

    Example:
        >>> sizes = MultinomialSizes(4, torch.tensor([1.0, 3.0]))
        >>> sizes.mean
        tensor([1., 3.])
        >>> MultinomialSizes(4, torch.tensor([1.0, 3.0]), minimum=torch.tensor([2, 0])).mean
        tensor([2.2090, 1.7910])
    """

    arg_constraints = {
        "omega": constraints.independent(constraints.positive, 1),
        "log_omega": constraints.real_vector,
    }
    moves_by_one = True

    def __init__(
        self,
        total_count: int,
        omega: Tensor | None = None,
        *,
        log_omega: Tensor | None = None,
        minimum: Tensor | None = None,
        maximum: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        validate = self._validate_args if validate_args is None else validate_args
        self._log_omega = log_weights(type(self).__name__, "omega", omega, log_omega, validate)
        super().__init__(
            total_count,
            self._log_omega.shape,
            like=self._log_omega,
            minimum=minimum,
            maximum=maximum,
            validate_args=validate_args,
        )

    @property
    def log_omega(self) -> Tensor:
        """Log-weights, shape ``(*batch, K)``."""
        return self._log_omega.expand(self.batch_shape + self.event_shape)

    @property
    def omega(self) -> Tensor:
        """Weights, shape ``(*batch, K)``."""
        return self.log_omega.exp()

    def log_factors(self, counts: Tensor) -> Tensor:
        return counts * self._log_omega.double().unsqueeze(-1) - torch.lgamma(counts + 1)

    def _build_tables(self) -> SizeTables:
        if self._is_bounded:
            return super()._build_tables()
        return multinomial_tables(self._log_omega, self.total_count)

    def _log_normalizer(self) -> Tensor:
        if self._is_bounded:
            return super()._log_normalizer()
        return log_multinomial_normalizer(self._log_omega, self.total_count)

    @property
    def mode(self) -> Tensor:
        """The most probable counts, shape ``(*batch, K)``."""
        x = self._minimum.unsqueeze(-1) + torch.arange(self.total_count, device=self._device)
        gains = self._log_omega.detach().double().unsqueeze(-1) - (x + 1).double().log()
        gains = torch.where(x < self._maximum.unsqueeze(-1), gains, -torch.inf)
        counts = most_probable_counts_if_concave(gains, self._minimum, self.total_count)
        return self._of_events(counts)
