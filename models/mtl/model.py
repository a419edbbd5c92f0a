# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""DRPM-MTL: several tasks read one representation, each its own part of it (section 5.3)."""

from __future__ import annotations

from collections.abc import Sequence

import pyro
import pyro.distributions as dist
import torch
import torch.nn.functional as F
from pyro import poutine
from pyro.nn import PyroModule
from torch import Tensor, nn

from models.mtl.shares import Shares

__all__ = ["TaskGuide", "TaskModel", "size_penalty"]


class TaskModel(PyroModule):
    r"""Labels of ``T`` tasks given images.

    .. math::
        Y_i | x_i &\sim \mathrm{DRPM}(\omega(x_i), s(x_i)) \\
        l_{it} | x_i, Y_i &\sim \mathrm{Categorical}(\mathrm{head}_t(Y_{it} \odot h(x_i)))

    The loss of an image is the mean of the tasks' negative log-likelihoods.

    Args:
        encoder: Network ``h`` from images to ``n`` features.
        heads: A network per task, from features to log-probabilities of the classes.
        shares: Which neurons each task reads.
        size_weight: Weight of :func:`size_penalty`, equation 79 of the paper.
    """

    def __init__(
        self,
        encoder: nn.Module,
        heads: Sequence[nn.Module],
        shares: Shares,
        size_weight: float = 0.0,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = nn.ModuleList(heads)
        self.shares = shares
        self.size_weight = size_weight

    def forward(self, images: Tensor, labels: Tensor) -> None:
        """Sample ``Y`` ``(B, T, n)`` and the labels ``label_1``, ..., ``label_T`` ``(B,)``."""
        with pyro.plate("images", len(images)):
            shares = self.shares(images)
            predictions = self.predict(images, shares).unbind(1)
            with poutine.scale(scale=1 / len(self.heads)):
                for task, logits in enumerate(predictions):
                    law = dist.Categorical(logits=logits)
                    pyro.sample(f"label_{task + 1}", law, obs=labels[:, task])
            if self.size_weight:
                pyro.factor("sizes", -self.size_weight * size_penalty(shares))

    def predict(self, images: Tensor, shares: Tensor) -> Tensor:
        """Give log-probabilities ``(B, T, C)``; ``-inf`` of classes that other tasks alone have."""
        read = self.encoder(images).unsqueeze(1) * shares
        heads = zip(self.heads, read.unbind(1), strict=True)
        logits = [head(features) for head, features in heads]
        most = max(of_task.shape[-1] for of_task in logits)
        padded = [F.pad(x, (0, most - x.shape[-1]), value=-torch.inf) for x in logits]
        return torch.stack(padded, 1)


class TaskGuide(PyroModule):
    """Samples the partition where it is random, by the law that the model has as well.

    Args:
        shares: The same object as in the model.
    """

    def __init__(self, shares: Shares) -> None:
        super().__init__()
        self.shares = shares

    def forward(self, images: Tensor, labels: Tensor) -> None:
        """Sample ``Y`` ``(B, T, n)`` or nothing."""
        if self.shares.random:
            with pyro.plate("images", len(images)):
                self.shares(images)


def size_penalty(shares: Tensor) -> Tensor:
    r"""Penalty of large subsets, :math:`\sum_t \log n_t!` (equation 79 of the paper).

    Args:
        shares: Partition matrices, shape ``(*batch, T, n)``.

    Returns:
        Shape ``(*batch,)``, with gradients that fall on all neurons of a subset alike.

    Example:
        >>> size_penalty(torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])).exp()
        tensor(6.)
    """
    return torch.lgamma(shares.sum(-1) + 1).sum(-1)
