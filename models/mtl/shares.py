# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Which neurons a task reads: the one thing in which DRPM-MTL and its baseline differ.

Both are Pyro modules that map images to indicators ``(B, T, n)``, 1 where a task reads a neuron.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal

import pyro
import torch
from pyro import poutine
from pyro.nn import PyroModule
from torch import Tensor, nn

from pyro_drpm import DRPM

__all__ = ["AllNeurons", "Partition", "PartitionKind", "Shares"]

PartitionKind = Literal["noiseless", "relaxed", "sample"]


class Shares(PyroModule):
    """The neurons that every task reads."""

    random = False
    """Whether the shares are a latent variable, which the guide samples too."""
    temperature = 0.5
    """Of the relaxation, where there is one; a training may change it."""

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Give the shares of a training step, shape ``(B, T, n)``."""

    @abstractmethod
    def noiseless(self, images: Tensor) -> Tensor:
        """Give the shares without noise, shape ``(B, T, n)``."""


class AllNeurons(Shares):
    """ULS, the unitary loss scaling baseline: every task reads all neurons.

    Args:
        num_tasks: Number ``T`` of tasks.
        num_features: Number ``n`` of neurons.
    """

    ones: Tensor

    def __init__(self, num_tasks: int, num_features: int) -> None:
        super().__init__()
        self.register_buffer("ones", torch.ones(num_tasks, num_features))

    def forward(self, images: Tensor) -> Tensor:
        return self.noiseless(images)

    def noiseless(self, images: Tensor) -> Tensor:
        return self.ones.expand(len(images), -1, -1)


class Partition(Shares):
    r"""DRPM-MTL: every neuron is read by one task, another one for each image.

    .. math:: \log \omega = W_\omega h(x), \qquad \log s = W_s h(x), \qquad Y \sim DRPM(\omega, s)

    Args:
        encoder: Network ``h`` from images to features ``(B, f)``.
        encoder_features: Their number ``f``.
        num_tasks: Number ``T`` of tasks.
        num_features: Number ``n`` of neurons to partition.
        kind: What is read in training. ``"noiseless"``: the partition without noise, as in the
            paper, 0 or 1 with the gradients of the relaxation; ``"relaxed"``: the relaxation
            itself, here as in the evaluation; ``"sample"``: a random partition, with the gradients
            of :meth:`~pyro_drpm.DRPM.rsample`.
    """

    def __init__(
        self,
        encoder: nn.Module,
        encoder_features: int,
        num_tasks: int,
        num_features: int,
        kind: PartitionKind = "noiseless",
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.log_omega = nn.Linear(encoder_features, num_tasks)
        self.log_s = nn.Linear(encoder_features, num_features)
        self.kind = kind
        self.random = kind == "sample"

    def forward(self, images: Tensor) -> Tensor:
        if not self.random:
            return pyro.deterministic("Y", self.noiseless(images), event_dim=2)
        # The law given the image is prior and posterior at once: what the ELBO has of it cancels.
        with poutine.mask(mask=False):
            return pyro.sample("Y", self.distribution(images))

    def noiseless(self, images: Tensor) -> Tensor:
        return self.distribution(images).noiseless

    def distribution(self, images: Tensor) -> DRPM:
        """Give the law of the partition, batch shape ``(B,)`` and event shape ``(T, n)``."""
        features = self.encoder(images)
        return DRPM(
            log_omega=self.log_omega(features),
            log_s=self.log_s(features),
            temperature=self.temperature,
            hard=self.kind != "relaxed",
        )
