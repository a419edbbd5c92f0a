# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Accuracies of all tasks and the sizes of their subsets: figure 4 and table 6 of the paper."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from models.data import MultiTaskData
from models.mtl.train import TaskTraining

__all__ = ["Scores", "score"]

_BATCH = 1000


class Scores(NamedTuple):
    """What a method reaches on the test images.

    Attributes:
        accuracies: Share of right predictions, one for each task.
        sizes: Number of neurons that each task reads, mean of the images.
    """

    accuracies: list[float]
    sizes: list[float]

    @property
    def mean_accuracy(self) -> float:
        """Mean of all tasks."""
        return sum(self.accuracies) / len(self.accuracies)


@torch.no_grad()
def score(training: TaskTraining, data: MultiTaskData) -> Scores:
    """Predict the labels of all test images, without noise and without dropout."""
    device = next(training.parameters()).device
    training.eval()
    right = torch.zeros(len(data.task_names), dtype=torch.float64)
    sizes = torch.zeros_like(right)
    batches = zip(data.test_images.split(_BATCH), data.test_labels.split(_BATCH), strict=True)
    for images, labels in batches:
        inputs = data.normalize(images.to(device))
        shares = training.shares.noiseless(inputs)
        predicted: Tensor = training.model.predict(inputs, shares).argmax(-1)
        right += (predicted.cpu() == labels).sum(0)
        sizes += shares.double().sum((0, 2)).cpu()
    num_images = len(data.test_images)
    return Scores((right / num_images).tolist(), (sizes / num_images).tolist())
