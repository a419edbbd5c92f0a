# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Share of the random partition in a training step of DRPM-VC at its settings for MNIST.

``python -m benchmarks.vc_step`` compares steps of DRPM-VC, with the paper's guide and either bound
and with the guide from affinities, with those of the same model and networks with a categorical
variable for each image instead of a partition, and adds what they take in an
epoch of as many images: data, logging, progress bar and checkpoint included. Either the heads of
the encoder are trained, on frozen features, or all layers; originals of the images are encoded as
well then, but images are not changed. They are random.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import pyro
import torch
from pyro.infer import TraceMeanField_ELBO
from pyro.infer.elbo import ELBO
from pyro.nn import PyroModule
from torch import Tensor

from models.training.batches import ShuffledBatches
from models.training.hardware import Hardware
from models.training.session import training_session
from models.training.stages import Stage
from models.vc.affinities import AffinityGuide, particle_elbo
from models.vc.categorical import CategoricalVCGuide, CategoricalVCModel
from models.vc.config import TrainedLayers
from models.vc.model import DRPMVCModel
from models.vc.networks import Autoencoder
from models.vc.presets import PRESETS
from models.vc.priors import ClusterPriors
from models.vc.scores import ScoreGuide
from models.vc.sizes import KnownSizes, WeightedSizes
from models.vc.train import VariationalTraining
from pyro_drpm.infer import TracePartition_ELBO

CONFIG = PRESETS["mnist"]
NUM_IMAGES, PIXELS = 60_000, (1, 28, 28)
REPETITIONS = 60

Method = Literal["categorical", "lemma", "exact", "affinities"]


class Step(NamedTuple):
    """A training and the batches of its steps."""

    training: VariationalTraining
    batches: ShuffledBatches


def make_step(method: Method, layers: TrainedLayers) -> Step:
    """Steps without a partition, with a bound and one score per image, or with affinities."""
    network = Autoencoder(28 * 28, CONFIG.networks.hidden, CONFIG.networks.latent_dim)
    images = torch.rand(NUM_IMAGES, *PIXELS)
    encoder: torch.nn.Module
    inputs: tuple[Tensor, ...]
    if layers == "heads":
        network.encoder.hidden.requires_grad_(False)
        features = torch.rand(NUM_IMAGES, CONFIG.networks.hidden[-1])
        encoder, inputs = network.encoder.heads, (features, images)
    else:
        encoder, inputs = network.encoder, (images, images, images)
    priors = ClusterPriors(CONFIG.networks.num_clusters, CONFIG.networks.latent_dim)
    torch.nn.init.normal_(priors.loc)
    training = VariationalTraining(
        network,
        priors,
        *_objective(network, encoder, priors, method),
        CONFIG.training.learning_rate,
    )
    return Step(training, ShuffledBatches(inputs, CONFIG.training.batch_size, drop_last=True))


def _objective(
    network: Autoencoder, encoder: torch.nn.Module, priors: ClusterPriors, method: Method
) -> tuple[PyroModule, PyroModule, ELBO]:
    """Model, guide and loss."""
    decoder, num_partitions = network.decoder, CONFIG.scores.num_partitions
    if method == "categorical":
        model = CategoricalVCModel(decoder, priors)
        return model, CategoricalVCGuide(encoder, priors), TraceMeanField_ELBO()
    if method == "affinities":
        sizes = KnownSizes(priors, [NUM_IMAGES // CONFIG.networks.num_clusters] * len(priors.loc))
        return (
            DRPMVCModel(decoder, priors, sizes, num_partitions=1),
            AffinityGuide(encoder, priors, sizes),
            particle_elbo(CONFIG.partition.num_particles),
        )
    return (
        DRPMVCModel(decoder, priors, WeightedSizes(priors), num_partitions),
        ScoreGuide(encoder, priors, num_partitions),
        TracePartition_ELBO(method, delta=CONFIG.partition.delta),
    )


def step_seconds(steps: dict[str, Step]) -> dict[str, float]:
    """Median seconds of a step, where the trainings take turns: a machine has its moods."""
    trainings = {name: step.training for name, step in steps.items()}
    optimizers = {
        name: torch.optim.AdamW(p for p in training.parameters() if p.requires_grad)
        for name, training in trainings.items()
    }
    batches = {name: next(iter(step.batches)) for name, step in steps.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(REPETITIONS):
        for name, training in trainings.items():
            start = time.perf_counter()
            optimizers[name].zero_grad()
            (training.objective(*batches[name]) / CONFIG.training.batch_size).backward()
            optimizers[name].step()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def epoch_seconds(training: VariationalTraining, batches: ShuffledBatches) -> float:
    """Seconds per step of a whole epoch, as the command line trains it."""
    with tempfile.TemporaryDirectory() as directory:
        stage = Stage("steps", Path(directory), seed=0, epochs=1, hardware=Hardware("cpu"))
        start = time.perf_counter()
        stage.fit(training, batches)
        return (time.perf_counter() - start) / len(batches)


def main() -> None:
    """Prints a table."""
    pyro.set_rng_seed(0)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, milliseconds per step")
    print(f"{'':<28}{'step':>8}{'share of partition':>20}{'in an epoch':>14}")
    with training_session(Hardware()), pyro.validation_enabled(False):
        for layers in get_args(TrainedLayers):
            steps = {f"{name}, {layers}": make_step(name, layers) for name in get_args(Method)}
            seconds = step_seconds(steps)
            for name, step in steps.items():
                share = f"{1 - seconds[f'categorical, {layers}'] / seconds[name]:.0%}"
                whole = 1e3 * epoch_seconds(*step)
                print(f"{name:<28}{1e3 * seconds[name]:>8.1f}{share:>20}{whole:>14.1f}")


if __name__ == "__main__":
    main()
