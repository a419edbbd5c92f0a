# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Random partitions whose subset sizes are drawn without noise, and such sizes alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pyro_drpm import DRPM, MultivariateFisherHypergeometric
from pyro_drpm.ops.noise import gumbel
from pyro_drpm.ops.sizes.draws import perturbed_sizes

__all__ = ["ModalHypergeometric", "ModalSizesDRPM"]


class ModalSizesDRPM(DRPM):
    """A DRPM that samples its ordering alone: every size is the most probable given the earlier.

    The published code of DRPM-VC draws the sizes this way. There, a boundary between two subsets
    that falls elsewhere than between two clusters puts images into the neighbouring cluster, and
    all boundaries behind it move along; at random sizes that happens to a third of a batch.

    The log-mass is that of :class:`~pyro_drpm.DRPM`.

    Example:
        >>> partition = ModalSizesDRPM(torch.ones(2), torch.ones(4)).expand([100]).sample()
        >>> partition.sum(-1).unique(dim=0)
        tensor([[2., 2.]])
    """

    def _draw_sizes(self, shape: torch.Size) -> Tensor:
        law = self.sizes.law
        return perturbed_sizes(law, None, law.mass_start.shape[:-1])  # the same for all draws

    def _noise(self, shape: torch.Size) -> tuple[None, Tensor]:
        return None, gumbel(shape + self.event_shape[1:], self.log_s.device)


class ModalHypergeometric(MultivariateFisherHypergeometric):
    """Subset sizes without noise: every size is the most probable given the earlier.

    The log-mass and the gradients are those of
    :class:`~pyro_drpm.MultivariateFisherHypergeometric`.

    Example:
        >>> ModalHypergeometric(4, torch.ones(2)).sample()
        tensor([2., 2.])
    """

    def sample_counts(self, sample_shape: Sequence[int] = ()) -> Tensor:
        shape = torch.Size(sample_shape) + self.batch_shape
        return perturbed_sizes(self.law, None, shape)
