# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The Dirichlet-multinomial law of the subset sizes."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import constraints

from pyro_drpm.distributions.arguments import checked_parameter
from pyro_drpm.distributions.size_distribution import SizeDistribution
from pyro_drpm.ops.sizes.dirichlet_multinomial import (
    dirichlet_multinomial_tables,
    log_dirichlet_multinomial_normalizer,
    log_rising_power,
)
from pyro_drpm.ops.sizes.tables import SizeTables

__all__ = ["DirichletMultinomialSizes"]


class DirichletMultinomialSizes(SizeDistribution):
    r"""Dirichlet-multinomial law of the subset sizes.

    .. math::
        p(n_0, \dots, n_{K-1}) \propto
        \prod_k \frac{\Gamma(n_k + \alpha_k)}{\Gamma(\alpha_k) \, n_k!}

    The sum of the concentrations says how much sizes spread: small ones put nearly all elements
    into one subset, ones of 1 make all sizes as probable, large ones come close to
    :class:`MultinomialSizes`.

    Args:
        total_count: The number ``n`` of elements.
        concentration: Positive, shape ``(*batch, K)``.
        minimum: Integers, the least that each subset holds, broadcastable with ``(*batch, K)``.
        maximum: Integers, the most, likewise.
        validate_args: Whether to check values.

    Raises:
        ValueError: If concentrations are no tensor of float32 or float64 or have no dimension; with
            ``validate_args`` if they are not positive and finite; for bounds as
            :class:`~pyro_drpm.MultivariateFisherHypergeometric`.

    Example:
        >>> import torch
        >>> sizes = DirichletMultinomialSizes(3, torch.ones(2))
        >>> sizes.log_prob(sizes.enumerate_support()).exp()
        tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """

    arg_constraints = {"concentration": constraints.independent(constraints.positive, 1)}

    def __init__(
        self,
        total_count: int,
        concentration: Tensor,
        *,
        minimum: Tensor | None = None,
        maximum: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        validate = self._validate_args if validate_args is None else validate_args
        self._concentration = checked_parameter(
            type(self).__name__, "concentration", concentration, validate, positive=True
        )
        super().__init__(
            total_count,
            concentration.shape,
            like=concentration,
            minimum=minimum,
            maximum=maximum,
            validate_args=validate_args,
        )
        # Polya's urn: another element joins one of the subsets. That need not be so with bounds.
        self.moves_by_one = not self._is_bounded

    @property
    def concentration(self) -> Tensor:
        """Concentrations, shape ``(*batch, K)``."""
        return self._concentration.expand(self.batch_shape + self.event_shape)

    def log_factors(self, counts: Tensor) -> Tensor:
        return log_rising_power(self._concentration.double().unsqueeze(-1), counts)

    def _build_tables(self) -> SizeTables:
        if self._is_bounded:
            return super()._build_tables()
        return dirichlet_multinomial_tables(self._concentration, self.total_count)

    def _log_normalizer(self) -> Tensor:
        if self._is_bounded:
            return super()._log_normalizer()
        return log_dirichlet_multinomial_normalizer(self._concentration, self.total_count)
