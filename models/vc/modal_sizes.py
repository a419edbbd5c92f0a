# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Random partition whose subset sizes are drawn without noise."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pyro_drpm import DRPM
from pyro_drpm.ops.noise import gumbel

__all__ = ["ModalSizesDRPM"]


class ModalSizesDRPM(DRPM):
    """A DRPM that samples its ordering alone: every size is the most probable given the earlier.

    The published code of DRPM-VC draws the sizes this way. A boundary between two subsets that
    falls elsewhere than between two clusters puts images into the neighbouring cluster, and all
    boundaries behind it move along; at random sizes that happens to a third of a batch.

    The log-mass is that of :class:`~pyro_drpm.DRPM`.

    Example:
        >>> partition = ModalSizesDRPM(torch.ones(2), torch.ones(4)).sample((100,))
        >>> partition.sum(-1).unique(dim=0)
        tensor([[2., 2.]])
    """

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        drawn = self.expand(torch.Size(sample_shape) + self.batch_shape)
        return drawn.partition(None, gumbel(drawn.log_s.shape, drawn.log_s.device))

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        with torch.no_grad():
            return self.rsample(sample_shape)
