# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Training of DRPM-MTL and of its baseline."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from models.data import MultiTaskData
from models.mtl.config import Config, Method
from models.mtl.model import TaskGuide, TaskModel
from models.mtl.networks import Head, LeNetEncoder, ResNetEncoder
from models.mtl.shares import AllNeurons, Partition, Shares
from models.training.losses import ObjectiveTraining
from pyro_drpm.infer import ExponentialAnnealing, TracePartition_ELBO

__all__ = ["TaskTraining"]


class TaskTraining(ObjectiveTraining):
    """Minimises the mean of the tasks' negative log-likelihoods per image with Adam.

    The temperature of the partition falls from 1 to 0.5 over the training.

    Args:
        config: Settings of the run.
        method: Which neurons a task reads.
        data: The images.
    """

    def __init__(self, config: Config, method: Method, data: MultiTaskData) -> None:
        super().__init__()
        self.learning_rate = config.learning_rate
        self.normalize: Callable[[Tensor], Tensor] = data.normalize
        num_steps = config.epochs * -(-len(data.train_images) // config.batch_size)
        self.annealing = ExponentialAnnealing(1.0, 0.5, steps=num_steps)
        self.shares = _make_shares(config, method, data)
        heads = [Head(config.num_features, number) for number in data.num_classes]
        encoder = _make_encoder(config, data)
        self.model = TaskModel(encoder, heads, self.shares, config.size_weight)
        self.objective = TracePartition_ELBO()(self.model, TaskGuide(self.shares))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Give the loss of a batch of images ``(B, C, H, W)`` and labels ``(B, T)``."""
        images, labels = batch
        self.shares.temperature = self.annealing(self.global_step)
        return self.row_loss(self.normalize(images), labels)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), self.learning_rate)


def _make_shares(config: Config, method: Method, data: MultiTaskData) -> Shares:
    num_tasks, num_features = len(data.task_names), config.num_features
    if method == "uls":
        return AllNeurons(num_tasks, num_features)
    encoder = _make_encoder(config, data)
    return Partition(encoder, num_features, num_tasks, num_features, config.partition)


def _make_encoder(config: Config, data: MultiTaskData) -> nn.Module:
    shape = tuple(data.train_images.shape[1:])
    if config.network == "resnet":
        return ResNetEncoder(config.num_features, channels=shape[0])
    return LeNetEncoder(config.num_features, shape)
