# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Share of the random partition in a training step of DRPM-VC at its settings for MNIST.

``python -m benchmarks.vc_step`` compares steps of DRPM-VC with those of VaDE, which has the same
networks and a categorical variable for each image instead of a partition, and adds what whole
epochs take: data, logging and progress bar included. Images are random.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyro
import torch
from pyro.infer import Trace_ELBO
from torch import Tensor

from models.cli import training_session
from models.hardware import Hardware
from models.stages import ShuffledBatches, Stage
from models.vc.baselines import VaDEGuide, VaDEModel
from models.vc.config import PRESETS
from models.vc.model import DRPMVCGuide, DRPMVCModel
from models.vc.networks import Autoencoder
from models.vc.priors import ClusterPriors
from models.vc.train import VariationalTraining
from pyro_drpm.infer import TracePartition_ELBO

CONFIG = PRESETS["mnist"]
NUM_IMAGES, PIXELS = 10_000, (1, 28, 28)
REPETITIONS = 30


def make_training(method: str) -> VariationalTraining:
    """A training of frozen VaDE, or of DRPM-VC with a bound of the partition's terms."""
    network = Autoencoder(28 * 28, CONFIG.hidden, CONFIG.latent_dim)
    network.encoder.hidden.requires_grad_(False)
    priors = ClusterPriors(CONFIG.num_clusters, CONFIG.latent_dim)
    torch.nn.init.normal_(priors.loc)
    heads, partitions = network.encoder.heads, CONFIG.num_partitions
    if method == "VaDE":
        return VariationalTraining(
            network,
            priors,
            VaDEModel(network.decoder, priors),
            VaDEGuide(heads),
            Trace_ELBO(),
            CONFIG.learning_rate,
        )
    return VariationalTraining(
        network,
        priors,
        DRPMVCModel(network.decoder, priors, partitions),
        DRPMVCGuide(heads, priors, partitions),
        TracePartition_ELBO(method, delta=CONFIG.delta),  # type: ignore[arg-type]
        CONFIG.learning_rate,
    )


def step_seconds(training: VariationalTraining, batch: tuple[Tensor, ...]) -> Iterator[float]:
    """Seconds of each step on one batch, after some that warm up."""
    optimizer = training.configure_optimizers()
    for repetition in range(REPETITIONS + 3):
        start = time.perf_counter()
        optimizer.zero_grad()
        (training.objective(*batch) / len(batch[0])).backward()
        optimizer.step()
        if repetition >= 3:
            yield time.perf_counter() - start


def epoch_seconds(training: VariationalTraining, batches: ShuffledBatches) -> float:
    """Seconds per step of a whole epoch, as the command line trains it."""
    with tempfile.TemporaryDirectory() as directory:
        stage = Stage("steps", Path(directory), seed=0, epochs=2, hardware=Hardware("cpu"))
        start = time.perf_counter()
        stage.fit(training, batches)
        return (time.perf_counter() - start) / (2 * len(batches))


def main() -> None:
    """Prints a table."""
    pyro.set_rng_seed(0)
    features, images = torch.rand(NUM_IMAGES, CONFIG.hidden[-1]), torch.rand(NUM_IMAGES, *PIXELS)
    batches = ShuffledBatches((features, images), CONFIG.batch_size, drop_last=True)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, milliseconds per step")
    print(f"{'':<22}{'step':>8}{'share of partition':>20}{'with data and logging':>24}")
    baseline = 0.0
    with training_session(Hardware()), pyro.validation_enabled(False):
        for method in ("VaDE", "lemma", "exact"):
            training = make_training(method)
            seconds = statistics.median(step_seconds(training, next(iter(batches))))
            baseline = baseline or seconds
            whole = epoch_seconds(training, batches)
            name = method if method == "VaDE" else f"DRPM-VC, {method}"
            share = f"{1 - baseline / seconds:.0%}" if seconds > baseline else "-"
            print(f"{name:<22}{1e3 * seconds:>8.1f}{share:>20}{1e3 * whole:>24.1f}")


if __name__ == "__main__":
    main()
