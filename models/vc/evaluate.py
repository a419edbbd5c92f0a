# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""How well clusters agree with classes: NMI, ARI and ACC on the test images."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from models.vc.networks import Encoder, encode
from models.vc.priors import ClusterPriors
from pyro_drpm.metrics import (
    adjusted_rand_index,
    cluster_accuracy,
    normalized_mutual_information,
)

__all__ = ["Scores", "predict", "score"]


class Scores(NamedTuple):
    """Agreement of clusters with classes.

    Attributes:
        nmi: Normalised mutual information.
        ari: Adjusted Rand index.
        acc: Accuracy under the best matching of clusters and classes.
    """

    nmi: float
    ari: float
    acc: float


def score(labels: Tensor, clusters: Tensor) -> Scores:
    """Compare clusters with classes, both of shape ``(n,)``."""
    return Scores(
        normalized_mutual_information(labels, clusters),
        adjusted_rand_index(labels, clusters),
        cluster_accuracy(labels, clusters),
    )


def predict(encoder: Encoder, priors: ClusterPriors, images: Tensor) -> Tensor:
    """Give every image the cluster whose prior is densest at the mean of ``q(z | x)``.

    Args:
        encoder: The trained encoder.
        priors: The trained priors.
        images: Shape ``(n, 1, H, W)``.

    Returns:
        Clusters, shape ``(n,)``.
    """
    return priors.log_densities(encode(encoder, images)).argmax(-1)
