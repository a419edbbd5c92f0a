# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Subset sizes without noise."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import constraints

from pyro_drpm.distributions.arguments import is_integer_sequence
from pyro_drpm.distributions.size_distribution import SizeDistribution
from pyro_drpm.ops.sizes.moments import SizeMarginals

__all__ = ["FixedSizes"]


class FixedSizes(SizeDistribution):
    """Subset sizes that are known: equal teams, or with two subsets the choice of ``k`` elements.

    Sizes may carry gradients, as :meth:`at_mode` gives them. Then those of a
    boundary are half those of moving the element behind it and half those of moving the one before
    it, in draws under every gradient and reparametrisation.

    Args:
        sizes: Integers, or floats with integer values, shape ``(*batch, K)``; or a list of ``K``
            integers.
        total_count: The number ``n`` that they add up to; looked up if it is not given, for which a
            GPU has to be waited for.
        validate_args: Whether to check values.

    Raises:
        ValueError: If sizes have no dimension; with ``validate_args`` if they are no counts or do
            not all add up to the same number.

    Example:
        >>> teams = FixedSizes([2, 2, 2])
        >>> teams.sample()
        tensor([2., 2., 2.])
        >>> teams.log_prob(torch.tensor([2.0, 2.0, 2.0]))
        tensor(0.)
    """

    arg_constraints = {"sizes": constraints.independent(constraints.nonnegative, 1)}
    moves_by_one = True

    def __init__(
        self,
        sizes: Tensor | Sequence[int],
        total_count: int | None = None,
        *,
        validate_args: bool | None = None,
    ) -> None:
        owner = type(self).__name__
        if is_integer_sequence(sizes):
            sizes = torch.tensor(sizes)
        if not isinstance(sizes, Tensor) or sizes.dim() == 0 or sizes.shape[-1] == 0:
            received = tuple(sizes.shape) if isinstance(sizes, Tensor) else repr(sizes)
            raise ValueError(
                f"{owner}: expected sizes to be a tensor of shape (*batch, K), but got {received}."
            )
        self._sizes = sizes if sizes.is_floating_point() else sizes.to(torch.get_default_dtype())
        counts = self._sizes.detach().round().long()
        if total_count is None:
            total_count = int(counts.sum(-1).flatten()[0])
        validate = self._validate_args if validate_args is None else validate_args
        if validate and not ((self._sizes - counts).abs() < 1e-4).all():
            raise ValueError(f"{owner}: expected sizes to be integers, but got {sizes.tolist()}.")
        super().__init__(
            total_count,
            sizes.shape,
            like=self._sizes,
            minimum=counts,
            maximum=counts,
            validate_args=validate_args,
        )

    @classmethod
    def at_mode(cls, law: SizeDistribution) -> FixedSizes:
        """The most probable counts of a law, without noise, with the gradients of its means."""
        mean = law.mean
        counts = law.mode + (mean - mean.detach())
        return cls(counts, law.total_count, validate_args=law._validate_args)

    @property
    def sizes(self) -> Tensor:
        """The sizes, shape ``(*batch, K)``."""
        return self._sizes.expand(self.batch_shape + self.event_shape)

    def log_factors(self, counts: Tensor) -> Tensor:
        return torch.zeros_like(counts)

    def _log_normalizer(self) -> Tensor:
        return self._sizes.new_zeros((), dtype=torch.float64)

    def sample_counts(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self._minimum.expand(torch.Size(sample_shape) + self.batch_shape + self.event_shape)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        shape = torch.Size(sample_shape) + self.batch_shape + self.event_shape
        return self._sizes.expand(shape).clone()  # which may be written to

    def boundary_moves(self, counts: Tensor) -> Tensor:
        moves = self._boundary_gradients().expand(*counts.shape[:-1], -1) / 2
        return torch.stack([moves, moves])

    def _boundary_gradients(self) -> Tensor:
        """Zeros with the gradients of the boundaries, shape ``(*batch, K - 1)``."""
        ends = self._sizes.double().cumsum(-1)[..., :-1]
        return ends - ends.detach()

    def flow(self, counts: Tensor, changes: Tensor, value: Tensor) -> Tensor:
        # A boundary moves alone: what is before it and what is behind it change.
        differences = changes[:, 0, ..., :-1] + changes[:, 1, ..., 1:]
        return (self._boundary_gradients() * (differences[0] - differences[1]) / 2).sum(-1)

    @property
    def noise_shape(self) -> torch.Size:
        return torch.Size((self.event_shape[0] - 1, 0))

    def perturbed_counts(self, noise: Tensor | None, shape: torch.Size) -> Tensor:
        return self._minimum.expand(*shape, -1)

    def relaxed_boundaries(
        self, counts: Tensor, noise: Tensor | None, temperature: Tensor | float
    ) -> Tensor:
        """The same 0 and 1 as without relaxation, shape ``(*sample, *batch, K - 1, n)``."""
        rank = torch.arange(self.total_count, device=counts.device)
        ends = counts.cumsum(-1)[..., :-1, None]
        at_boundary = (rank == ends) | (rank == ends - 1)
        return (rank < ends).double() + at_boundary * self._boundary_gradients().unsqueeze(-1) / 2

    def marginals(self) -> SizeMarginals:
        counts = self._minimum.unsqueeze(-1)
        return SizeMarginals(counts, torch.ones_like(counts, dtype=torch.float64))

    @property
    def mean(self) -> Tensor:
        return self.sizes

    @property
    def mode(self) -> Tensor:
        return self.sizes.detach()
