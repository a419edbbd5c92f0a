# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Clustering of one's own data by DRPM-VC: the path of the command line and of the estimator."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import pyro.distributions as dist
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.data import Scaler
from models.runs.jobs import run_jobs
from models.vc.config import Config
from models.vc.data import ClusterData
from models.vc.directory import prepare_directory
from models.vc.experiment import Job, Result, run_job
from models.vc.memberships import best_partition, fit_log_weights
from models.vc.networks import Autoencoder
from models.vc.priors import ClusterPriors
from models.vc.subset_normal import divergences
from models.vc.trained import Trained, load_trained

__all__ = ["Fitted", "own_data", "prepare", "probabilities", "run"]

_AT_ONCE = 4096  # items


class Fitted(NamedTuple):
    """The best of several trainings.

    Attributes:
        network: Encoder and decoder.
        priors: The Gaussians of the clusters, with weights of what they hold.
        clusters: Cluster of every item, shape ``(N,)``, of sizes within the bounds, if there are
            any; the largest is number 0, and so on.
        loss: Loss per item at the end of its training.
        results: Scores and losses of all methods and repetitions.
    """

    network: Autoencoder
    priors: ClusterPriors
    clusters: Tensor
    loss: float
    results: list[Result]


def own_data(values: NDArray[Any], scaler: Scaler, labels: Tensor | None = None) -> ClusterData:
    """Give items as networks take them.

    Args:
        values: Images, shape ``(N, C, H, W)``, or features, shape ``(N, D)``.
        scaler: Their scale.
        labels: Classes, shape ``(N,)``, if they are known.
    """
    items = scaler(values)
    return ClusterData("own", items, items, labels)


def prepare(
    config: Config, jobs: Sequence[Job], data: ClusterData, results: Sequence[str] = ()
) -> None:
    """Check settings, data and directory, and make the directory ready.

    Args:
        config: Settings of the run.
        jobs: What to train.
        data: The items.
        results: Files that are written beside the checkpoints.

    Raises:
        ValueError: If a setting does not suit the data or the directory.
    """
    config.validate()
    if "drpm" not in config.methods:
        raise ValueError(f"methods must hold drpm for data of your own, but is {config.methods}")
    least, most = (value.item() for value in data.train.aminmax())
    if config.networks.likelihood == "pixels" and not 0 <= least <= most <= 1:
        raise ValueError(
            "likelihood pixels is for values from 0 to 1, but there are values from "
            f"{least:.3g} to {most:.3g}: give --likelihood normal"
        )
    config.check_data(data.item_shape, len(data.train))
    prepare_directory(config, jobs, results)


def run(config: Config, jobs: Sequence[Job], data: ClusterData) -> Fitted:
    """Train or resume, and keep the repetition of the least loss.

    Args:
        config: Settings of the run.
        jobs: What to train.
        data: The items.

    Raises:
        StageError: If a training diverges or a clustering fails.
    """
    results = list(chain(*run_jobs(partial(run_job, data=data), config, jobs)))
    losses = {r.job: r.loss for r in results if r.method == "drpm" and r.loss is not None}
    best = min(losses, key=losses.__getitem__)
    trained = load_trained(config.out, "drpm", best.repetition)
    clusters = _cluster(config, trained, data.train)
    return Fitted(trained.network, trained.priors, clusters, losses[best], results)


@torch.no_grad()
def _cluster(config: Config, trained: Trained, items: Tensor) -> Tensor:
    """Weigh and number the clusters, and give those of the items."""
    law, priors = config.partition, trained.priors
    log_affinity = _log_affinities(trained.network, priors, items, config.training.beta)
    least, most = (torch.full_like(priors.log_weight, size) for size in law.bounds(len(items)))
    if trained.sizes is not None and not law.size_spread:
        least = most = trained.sizes
    priors.log_weight.copy_(fit_log_weights(log_affinity, least, most))
    clusters = (log_affinity + priors.log_weight).argmax(-1)
    if law.sizes_law in {"fixed", "bounded"} and not law.size_spread:
        clusters = best_partition(log_affinity, least, most)
    sizes = clusters.bincount(minlength=len(least))
    order = sizes.argsort(descending=True, stable=True)
    priors.reorder(order)
    return order.argsort()[clusters]


@torch.no_grad()
def probabilities(
    network: Autoencoder, priors: ClusterPriors, items: Tensor, beta: float
) -> Tensor:
    r"""Probabilities of the clusters of each item, on its own.

    .. math:: p_{ik} \propto \omega_k \exp(-\beta \, KL[q(z | x_i) || N(\mu_k, \Sigma_k)])

    Args:
        network: Encoder and decoder.
        priors: The Gaussians and their weights.
        items: Shape ``(n, *shape)``.
        beta: Weight of the divergence in the training.

    Returns:
        Shape ``(n, K)``.
    """
    log_affinity = _log_affinities(network, priors, items, beta)
    return (log_affinity + priors.log_weight).softmax(-1)


def _log_affinities(
    network: Autoencoder, priors: ClusterPriors, items: Tensor, beta: float
) -> Tensor:
    """How well items fit clusters, as the guide sees it."""
    rows = (
        divergences(dist.Normal(*network.encoder(batch)).to_event(1), priors.clusters)
        for batch in items.split(_AT_ONCE)
    )
    return -beta * torch.cat(list(rows))
