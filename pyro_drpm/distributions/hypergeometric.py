# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Fisher's law of the subset sizes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import constraints

from pyro_drpm.distributions.arguments import checked_bound, log_weights
from pyro_drpm.distributions.size_distribution import SizeDistribution
from pyro_drpm.ops.sizes.fisher import fisher_tables
from pyro_drpm.ops.sizes.log_binomial import log_binomial
from pyro_drpm.ops.sizes.mode import most_probable_counts_if_concave
from pyro_drpm.ops.sizes.normalizer import log_normalizer
from pyro_drpm.ops.sizes.tables import SizeTables

__all__ = ["MultivariateFisherHypergeometric"]


class MultivariateFisherHypergeometric(SizeDistribution):
    r"""Fisher's multivariate noncentral hypergeometric distribution.

    A sample is a vector of ``K`` counts that add up to :math:`n`, ``total_count``:

    .. math::
        \log p(n_0, \dots, n_{K-1}) = \sum_k \Big[ \log \binom{m_k}{n_k} + n_k \log \omega_k \Big]
        - \log P_0, \qquad 0 \le n_k \le m_k .

    The normaliser :math:`P_0` and the conditionals that samples are drawn from are exact, see
    :mod:`pyro_drpm.ops.sizes.normalizer` and :mod:`pyro_drpm.ops.sizes.fisher`. The former costs
    ``O(K sqrt(n))``; draws need tables, which cost ``O(K w^2)`` for a window ``w`` of at most
    ``n + 1`` and of order ``sqrt(n)``, once for each distinct ``omega`` whatever the number of
    samples; with a minimum all counts are in the window. :meth:`rsample` is straight-through:
    integers with the gradient of :mod:`pyro_drpm.ops.sizes.boundary_moves`.

    Args:
        total_count: The number ``n`` of elements.
        omega: Importance weights, positive, shape ``(*batch, K)``.
        log_omega: Their logarithms, instead of ``omega``.
        capacities: Integers ``m_k``, the most that each subset can hold, a list of ``K`` or a
            tensor of a shape broadcastable with ``(*batch, K)``; ``total_count`` by default.
        minimum: Integers, the least that each subset holds, likewise; 0 by default.
        validate_args: Whether to check values; must be false in :func:`torch.func.vmap`, where they
            cannot be looked at.

    Raises:
        ValueError: If weights are given in both forms or none, are not float32 or float64, or have
            no dimension; if capacities or minima are not integers, negative, or leave no room for
            ``total_count``; with ``validate_args`` if weights are not finite (and positive).

    References:
        Fog, A.: Sampling methods for Wallenius' and Fisher's noncentral hypergeometric
        distributions. Communications in Statistics 37(2), 2008.
        Sutter, T. M., Manduchi, L., Ryser, A., Vogt, J. E.: Learning group importance using the
        differentiable hypergeometric distribution. ICLR 2023.

    Example:
        >>> sizes = MultivariateFisherHypergeometric(4, omega=torch.tensor([1.0, 2.0, 1.0]))
        >>> sizes.mean
        tensor([1.1026, 1.7948, 1.1026])
        >>> sizes.log_prob(torch.tensor([1.0, 2.0, 1.0])).exp()
        tensor(0.2627)
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
        capacities: Tensor | Sequence[int] | None = None,
        minimum: Tensor | Sequence[int] | None = None,
        validate_args: bool | None = None,
    ) -> None:
        owner = type(self).__name__
        validate = self._validate_args if validate_args is None else validate_args
        self._log_omega = log_weights(owner, "omega", omega, log_omega, validate)
        self._has_minimum = minimum is not None
        shape = self._log_omega.shape
        if capacities is not None:
            capacities = checked_bound(
                owner, "capacities", capacities, 0, shape, self._log_omega.device
            )
        super().__init__(
            total_count,
            shape,
            like=self._log_omega,
            minimum=minimum,
            maximum=capacities,
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

    @property
    def capacities(self) -> Tensor:
        """Largest possible counts, shape ``(*batch, K)``."""
        return self.maximum

    def log_factors(self, counts: Tensor) -> Tensor:
        log_ways = log_binomial(self._maximum.double().unsqueeze(-1), counts)
        return log_ways + counts * self._log_omega.double().unsqueeze(-1)

    def _build_tables(self) -> SizeTables:
        if self._has_minimum:
            return super()._build_tables()
        return fisher_tables(self._log_omega, self._maximum, self.total_count)

    def _log_normalizer(self) -> Tensor:
        """``log P_0``, which the tables know; without them it takes a fraction of their work."""
        if self._has_minimum or self._tables.known() is not None:
            return super()._log_normalizer()
        return log_normalizer(self._log_omega, self._maximum, self.total_count)

    @property
    def mode(self) -> Tensor:
        """The most probable counts, shape ``(*batch, K)``."""
        x = self._minimum.unsqueeze(-1) + torch.arange(self.total_count, device=self._device)
        left = (self._maximum.unsqueeze(-1) - x).clamp(min=0).double()
        gains = (left / (x + 1)).log() + self._log_omega.detach().double().unsqueeze(-1)
        counts = most_probable_counts_if_concave(gains, self._minimum, self.total_count)
        return self._of_events(counts)
