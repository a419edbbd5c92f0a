# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""What a law of partitions says as a whole: its mean, its mode, its support."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_drpm.distributions.drawn_partition import DrawnPartition
from pyro_drpm.distributions.element_scores import ElementScores
from pyro_drpm.ops.labels import all_partitions

__all__ = ["PartitionSummaries"]

_MAX_ENUMERATED = 1 << 16
_MAX_FOR_MODE = 128
_MAX_FOR_MEAN = 512


class PartitionSummaries(DrawnPartition):
    """Mean, mode and support of a :class:`~pyro_drpm.DRPM`."""

    @property
    def mean(self) -> Tensor:
        """Exact probabilities of each element to be in each subset, shape ``(*batch, K, n)``.

        Differentiable in weights and scores: for a function that is linear in ``Y`` a gradient
        without noise.

        Raises:
            ValueError: If there are more than 512 elements, or more than 65,536 partitions where
                each subset has scores of its own.
        """
        assignment = self._assignment
        if isinstance(assignment, ElementScores):
            self._require_few(_MAX_FOR_MEAN, "exact means", "the mean of samples")
            mean = assignment.mean(self._sizes.boundary_survival())
        else:
            every, log_prob = self._enumerated()
            mean = (log_prob.exp()[..., None, None] * every).sum(0)
        return mean.to(self._dtype).expand(self.batch_shape + self.event_shape)

    @property
    def mode(self) -> Tensor:
        """The most probable partition, shape ``(*batch, K, n)``, without gradients.

        Raises:
            ValueError: If there are more than 128 elements, or more than 65,536 partitions where
                each subset has scores of its own. :attr:`noiseless` is a partition of any number
                of elements, though not always the most probable one.
        """
        assignment = self._assignment
        if isinstance(assignment, ElementScores):
            instead = "noiseless, for example"
            self._require_few(_MAX_FOR_MODE, "the most probable partition", instead)
            table = self._sizes.log_potential_table()
            Y = assignment.most_probable(table, self._sizes.empty_last)
        else:
            every, log_prob = self._enumerated()
            Y = every.reshape(-1, *self.event_shape)[log_prob.argmax(0)]
        return Y.to(self._dtype).expand(self.batch_shape + self.event_shape)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All partitions, shape ``(K ** n, *batch, K, n)`` or with ones for ``batch``.

        Partitions that exceed the capacities are among them, with mass 0.

        Raises:
            ValueError: If there are more than 65,536 of them.
        """
        num_subsets, n = self.event_shape
        if num_subsets**n > _MAX_ENUMERATED:
            raise ValueError(
                f"{type(self).__name__}: expected K ** n to be at most {_MAX_ENUMERATED} for "
                f"enumeration, but got K={num_subsets} and n={n}. NUTS and HMC enumerate a latent "
                "DRPM: for these give hard=False and replace the site by its noise with "
                "pyro.poutine.reparam and pyro_drpm.infer.DRPMReparam; for SVI draw the partition "
                "from a DRPM in the guide instead."
            )
        values = all_partitions(num_subsets, n, self._sizes.device).to(self._dtype)
        values = values.reshape(-1, *(1,) * len(self.batch_shape), num_subsets, n)
        return values.expand(-1, *self.batch_shape, -1, -1) if expand else values

    def _enumerated(self) -> tuple[Tensor, Tensor]:
        """All partitions, with ones for ``batch``, and their log-masses."""
        every = self.enumerate_support(expand=False)
        return every, self.log_prob(every)

    @property
    def _dtype(self) -> torch.dtype:
        return self._assignment.log_s.dtype

    def _require_few(self, most: int, what: str, instead: str) -> None:
        n = self.event_shape[-1]
        if n > most:
            raise ValueError(
                f"{type(self).__name__}: expected n to be at most {most} for {what}, but got "
                f"n={n}; take {instead}."
            )
