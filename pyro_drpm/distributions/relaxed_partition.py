# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Partitions as functions of noise, with the gradients of the paper's relaxation."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_drpm.distributions.assignment import Assignment
from pyro_drpm.distributions.element_scores import ElementScores
from pyro_drpm.distributions.size_distribution import SizeDistribution
from pyro_drpm.distributions.straight_through import StraightThroughDistribution
from pyro_drpm.ops.noise import gumbel
from pyro_drpm.ops.relaxation.partitions import relaxed_partition, straight_through_partition
from pyro_drpm.ops.transforms import transformed

__all__ = ["RelaxedPartition"]


class RelaxedPartition(StraightThroughDistribution):
    """What a :class:`~pyro_drpm.DRPM` makes of given noise.

    Attributes:
        hard: Whether partitions have entries 0 and 1 with a straight-through gradient.
        temperature: Of the relaxation.
    """

    hard: bool
    temperature: Tensor | float
    _sizes: SizeDistribution
    _assignment: Assignment

    @property
    def _ranked(self) -> ElementScores:
        """The scores, one per element: draws with gradients are orderings."""
        if not isinstance(self._assignment, ElementScores):
            raise NotImplementedError(
                f"{type(self).__name__}: with a score for every subset there is no ordering, and "
                "no relaxation of it. Take rsample, or sample and the score function."
            )
        return self._assignment

    @property
    def noiseless(self) -> Tensor:
        """The partition without noise, with gradients, shape ``(*batch, K, n)``.

        Each size is the most probable one given the earlier sizes and the ordering falls with the
        scores. This is the deterministic partition of the paper's section 5.3; it need not be the
        most probable of all partitions, which is :attr:`mode`.
        """
        return self.partition(None, None)

    @property
    def noise_shapes(self) -> tuple[torch.Size, torch.Size]:
        """Shapes ``(K - 1, w)`` and ``(n,)`` of the Gumbel noise behind one partition."""
        return self._sizes.noise_shape, self.event_shape[1:]

    def partition(self, size_noise: Tensor | None, ordering_noise: Tensor | None) -> Tensor:
        """The partition as a function of standard Gumbel noise, with the relaxation's gradients.

        Args:
            size_noise: Shape ``(*sample, *batch, K - 1, w)``, see :attr:`noise_shapes`; none
                gives the mode of each size.
            ordering_noise: Shape ``(*sample, *batch, n)``; none gives the order of the scores.

        Returns:
            Shape ``(*sample, *batch, K, n)``, with gradients for weights, scores and noise.
        """
        counts, scores = self._perturbed(size_noise, ordering_noise)
        return self._relaxed(counts, size_noise, scores)

    def _perturbed(
        self, size_noise: Tensor | None, ordering_noise: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Counts and scores behind :meth:`partition`."""
        shape, scores = self.batch_shape, self._ranked.log_s.double()
        if size_noise is not None:
            shape = torch.broadcast_shapes(shape, size_noise.shape[:-2])
        if ordering_noise is not None:
            shape = torch.broadcast_shapes(shape, ordering_noise.shape[:-1])
            scores = scores + ordering_noise
        return self._sizes.perturbed_counts(size_noise, shape), scores.expand(*shape, -1)

    def _relaxed(self, counts: Tensor, size_noise: Tensor | None, scores: Tensor) -> Tensor:
        dtype, temperature = self._ranked.log_s.dtype, self.temperature
        soft = None
        if not self.hard or self._sizes_need_gradients(size_noise):
            soft = self._sizes.relaxed_boundaries(counts, size_noise, temperature).to(dtype)
        if soft is None or self.hard:
            return straight_through_partition(counts, soft, scores, temperature, dtype)
        return relaxed_partition(soft, scores, temperature)

    def _sizes_need_gradients(self, size_noise: Tensor | None) -> bool:
        if transformed():  # where tensors do not tell
            return True
        of = [*self._sizes.parameters, *(() if size_noise is None else (size_noise,))]
        return torch.is_grad_enabled() and any(x.requires_grad for x in of)

    def _noise(self, shape: torch.Size) -> tuple[Tensor | None, Tensor]:
        device = self._ranked.log_s.device
        sizes, ordering = self.noise_shapes
        return gumbel(shape + sizes, device), gumbel(shape + ordering, device)
