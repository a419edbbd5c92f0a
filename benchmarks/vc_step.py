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
from pyro_drpm.infer.elbo import Bound

CONFIG = PRESETS["mnist"]
NUM_IMAGES, PIXELS = 10_000, (1, 28, 28)
REPETITIONS = 60


def make_training(bound: Bound | None) -> VariationalTraining:
    """A training of DRPM-VC with a bound of the partition's terms, or of frozen VaDE."""
    network = Autoencoder(28 * 28, CONFIG.hidden, CONFIG.latent_dim)
    network.encoder.hidden.requires_grad_(False)
    priors = ClusterPriors(CONFIG.num_clusters, CONFIG.latent_dim)
    torch.nn.init.normal_(priors.loc)
    heads, partitions = network.encoder.heads, CONFIG.num_partitions
    if bound is None:
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
        TracePartition_ELBO(bound, delta=CONFIG.delta),
        CONFIG.learning_rate,
    )


def step_seconds(
    trainings: dict[str, VariationalTraining], batch: tuple[Tensor, ...]
) -> dict[str, float]:
    """Median seconds of a step, where the trainings take turns: a machine has its moods."""
    optimizers = {name: training.configure_optimizers() for name, training in trainings.items()}
    seconds: dict[str, list[float]] = {name: [] for name in trainings}
    for _ in range(REPETITIONS):
        for name, training in trainings.items():
            start = time.perf_counter()
            optimizers[name].zero_grad()
            (training.objective(*batch) / len(batch[0])).backward()
            optimizers[name].step()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


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
    with training_session(Hardware()), pyro.validation_enabled(False):
        trainings = {
            "VaDE": make_training(None),
            "DRPM-VC, lemma": make_training("lemma"),
            "DRPM-VC, exact": make_training("exact"),
        }
        steps = step_seconds(trainings, next(iter(batches)))
        for name, training in trainings.items():
            share = f"{1 - steps['VaDE'] / steps[name]:.0%}"
            whole = 1e3 * epoch_seconds(training, batches)
            print(f"{name:<22}{1e3 * steps[name]:>8.1f}{share:>20}{whole:>24.1f}")


if __name__ == "__main__":
    main()
