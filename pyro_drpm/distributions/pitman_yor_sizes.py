# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Sizes of the tables of a Chinese restaurant."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import constraints

from pyro_drpm.distributions.arguments import checked_count
from pyro_drpm.distributions.constraints import non_empty_first
from pyro_drpm.distributions.size_distribution import SizeDistribution
from pyro_drpm.ops.sizes.pitman_yor import log_pitman_yor_factors, pitman_yor_tables
from pyro_drpm.ops.sizes.tables import SizeTables

__all__ = ["PitmanYorSizes"]


class PitmanYorSizes(SizeDistribution):
    r"""Law of the subset sizes of a Chinese restaurant with at most ``K`` tables.

    The number of subsets that are not empty is random. These come first, in random order:

    .. math::
        p(n_1, \dots, n_k, 0, \dots, 0) \propto
        \frac{n!}{k! \prod_{j \le k} n_j!} \,
        \frac{\prod_{j < k} (\theta + j d)}{(\theta + 1)_{n - 1}} \prod_{j \le k} (1 - d)_{n_j - 1}

    with rising factorials :math:`(a)_m`. In a :class:`~pyro_drpm.DRPM` with equal scores the
    partition, without regard to the names of the subsets, is that of the two-parameter Chinese
    restaurant process, given that it has at most ``K`` subsets; with other scores the law of
    their number and sizes is the same.

    Args:
        total_count: The number ``n`` of elements.
        max_subsets: The most subsets ``K`` that are not empty.
        strength: :math:`\theta`, above minus the discount, a number or of shape ``(*batch,)``.
        discount: :math:`d`, from 0 to below 1, likewise; 0 gives the Dirichlet process.
        validate_args: Whether to check values.

    Raises:
        ValueError: If ``total_count`` or ``max_subsets`` are no positive integers; with
            ``validate_args`` if strength or discount are out of their ranges.

    References:
        Pitman, J.: Combinatorial stochastic processes. Springer, 2006 (theorem 3.2).

    Example:
        >>> sizes = PitmanYorSizes(3, 3, strength=1.0)
        >>> sizes.log_prob(torch.tensor([3.0, 0.0, 0.0])).exp()
        tensor(0.3333)
    """

    arg_constraints = {
        "strength": constraints.greater_than(-1.0),
        "discount": constraints.half_open_interval(0.0, 1.0),
    }

    empty_last = True

    def __init__(
        self,
        total_count: int,
        max_subsets: int,
        strength: Tensor | float,
        discount: Tensor | float = 0.0,
        *,
        validate_args: bool | None = None,
    ) -> None:
        owner = type(self).__name__
        checked_count(owner, max_subsets, "max_subsets")
        given = [x for x in (strength, discount) if isinstance(x, Tensor)]
        like = given[0] if given else torch.empty(())
        self._strength, self._discount = (
            torch.as_tensor(x, dtype=like.dtype, device=like.device) for x in (strength, discount)
        )
        validate = self._validate_args if validate_args is None else validate_args
        if validate:
            self._check_parameters()
        shape = torch.broadcast_shapes(self._strength.shape, self._discount.shape)
        super().__init__(total_count, (*shape, max_subsets), like=like, validate_args=validate_args)

    def _check_parameters(self) -> None:
        strength, discount = torch.broadcast_tensors(self._strength, self._discount)
        in_range = (discount >= 0) & (discount < 1) & (strength > -discount) & (strength < math.inf)
        if not in_range.all():
            first = tuple((~in_range).nonzero()[0].tolist())
            raise ValueError(
                f"{type(self).__name__}: expected 0 <= discount < 1 and a finite strength above "
                f"-discount, but got strength={strength[first].item()} and "
                f"discount={discount[first].item()}."
            )

    @classmethod
    def infer_shapes(cls, **arg_shapes: torch.Size) -> tuple[torch.Size, torch.Size]:
        """No shape says what the number of subsets is.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(f"{cls.__name__}: max_subsets has no shape to infer from.")

    @property
    def strength(self) -> Tensor:
        """Strengths, shape ``(*batch,)``."""
        return self._strength.expand(self.batch_shape)

    @property
    def discount(self) -> Tensor:
        """Discounts, shape ``(*batch,)``."""
        return self._discount.expand(self.batch_shape)

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> constraints.Constraint:
        return non_empty_first(self.total_count, self._minimum, self._maximum)

    def log_factors(self, counts: Tensor) -> Tensor:
        return log_pitman_yor_factors(self._strength.double(), self._discount.double(), counts)

    def log_mass(self, value: Tensor) -> Tensor:
        some = value.detach() > 0.5
        has_gap = (some[..., 1:] & ~some[..., :-1]).any(-1)
        return torch.where(has_gap, -torch.inf, super().log_mass(value))

    def _build_tables(self) -> SizeTables:
        return pitman_yor_tables(self.log_potential_table(), self.total_count)

    def _all_counts(self) -> list[list[int]]:
        return [counts for counts in super()._all_counts() if 0 not in counts[: _last(counts)]]


def _last(counts: list[int]) -> int:
    """Index of the last count that is not zero."""
    return max(k for k, count in enumerate(counts) if count > 0)
