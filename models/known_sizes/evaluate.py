# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""How well clusters and their probabilities agree with classes."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from models.known_sizes.fit import Fit
from pyro_drpm.metrics import adjusted_rand_index

__all__ = ["Scores", "score"]


class Scores(NamedTuple):
    """Scores of a method.

    Attributes:
        loss: Negative ELBO, where the method has one.
        ari: Adjusted Rand index of the clusters.
        brier: Mean squared error of the probabilities, after the best matching of clusters and
            classes; between 0 and 2.
        overconfidence: Mean of the largest probability of each point, less the share of the points
            whose most probable cluster is the right one.
    """

    loss: float | None
    ari: float
    brier: float
    overconfidence: float


def score(fit: Fit, classes: Tensor) -> Scores:
    """Compare what a method says with classes, shape ``(n,)``."""
    probs = fit.probs.double()
    truth = F.one_hot(classes, probs.shape[-1]).double()
    _, cluster_of_class = linear_sum_assignment((truth.mT @ probs).numpy(), maximize=True)
    matched = probs[:, torch.as_tensor(cluster_of_class)]
    right = (matched.argmax(-1) == classes).double().mean()
    return Scores(
        fit.loss,
        adjusted_rand_index(classes, fit.clusters),
        (matched - truth).square().sum(-1).mean().item(),
        (matched.amax(-1).mean() - right).item(),
    )
