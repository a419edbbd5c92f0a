# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""How long the paper's protocol for DRPM-VC takes, from a few epochs of every stage.

``python -m benchmarks.protocol`` times steps of the contrastive pretraining, of both VaDEs and of
DRPM-VC, with everything that an epoch has beside them, and tells how long all epochs of the
protocol take at that rate. On a GPU steps are timed twice: launched kernel by kernel, and replayed
as CUDA graphs, which is what ``python -m models.vc`` does. Images are random.
"""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import tyro
from lightning.pytorch import LightningModule
from torch import Tensor

from models.runs.settings import RunSettings
from models.training.batches import Batches, ShuffledBatches
from models.training.session import training_session
from models.training.stages import Stage
from models.vc.config import Config, Method
from models.vc.data import ClusterData
from models.vc.fit import Fit
from models.vc.methods import TRAININGS, ClusteringTask
from models.vc.networks import Autoencoder
from models.vc.presets import PRESETS
from models.vc.pretrainings import PRETRAININGS, PretrainingTask
from models.vc.priors import ClusterPriors

NUM_IMAGES, PIXELS = 60_000, (1, 28, 28)
METHODS: tuple[Method, ...] = ("vade", "vade-frozen", "drpm")
EPOCHS = 1, 4  # of the two trainings whose times are compared


@dataclass(frozen=True)
class Settings:
    """Tell how long the paper's protocol takes."""

    dataset: Literal["mnist", "fashion-mnist"] = "mnist"
    """Whose settings are taken."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device to train on."""
    batches: int = 20
    """Batches of an epoch."""


class LaunchedBatches:
    """Batches of steps that are not captured.

    Args:
        batches: The same for steps that are.
    """

    def __init__(self, batches: ShuffledBatches) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        return iter(self.batches)


def make_fits(config: Config, batches: int) -> Iterator[tuple[str, Fit[LightningModule]]]:
    """Give every stage of the protocol, with fewer batches in an epoch."""
    networks, latent_dim = config.networks, config.networks.latent_dim
    network = Autoencoder(28 * 28, networks.hidden, latent_dim, precision=networks.precision)
    priors = ClusterPriors(networks.num_clusters, latent_dim)
    torch.nn.init.normal_(priors.loc)

    def data(batch_size: int) -> ClusterData:
        images = torch.rand(batches * batch_size, *PIXELS)
        return ClusterData(config.dataset, images, images[:1], labels=None)

    pretraining = PretrainingTask(
        copy.deepcopy(network),
        data(config.pretraining.pretrain_batch_size),
        config.pretraining,
        networks.num_clusters,
        seed=0,
    )
    yield "pretrain", PRETRAININGS["contrastive"]["pretrain"](pretraining)
    images, settings = data(config.training.batch_size), config.training
    means = torch.zeros(len(images.train), latent_dim)
    task = ClusteringTask(
        network, priors, images, means, settings, config.partition, config.scores, seed=0
    )
    for method in METHODS:
        yield method, TRAININGS[method](task)


def step_seconds(fit: Fit[LightningModule], batches: Batches, settings: Settings) -> float:
    """Seconds of a step in later epochs: the first has to warm up."""
    seconds = []
    for epochs in EPOCHS:
        with tempfile.TemporaryDirectory() as directory:
            hardware = RunSettings(Path(directory), device=settings.device).hardware
            stage = Stage("steps", Path(directory), 0, epochs, 100, hardware, progress=False)
            start = time.perf_counter()
            stage.fit(copy.deepcopy(fit.training), batches)
            seconds.append(time.perf_counter() - start)
    return (seconds[1] - seconds[0]) / (EPOCHS[1] - EPOCHS[0]) / len(batches)


def main(settings: Settings) -> None:
    """Prints a table."""
    torch.manual_seed(0)
    config = PRESETS[f"{settings.dataset}-paper"]
    has_gpu = settings.device != "cpu" and torch.cuda.is_available()
    device = torch.cuda.get_device_name() if has_gpu else f"{torch.get_num_threads()} threads"
    print(f"{settings.dataset}, {device}, torch {torch.__version__}, milliseconds per step")
    print(f"{'stage':<14}{'batch':>6}{'launched':>10}{'replayed':>10}{'steps':>9}{'minutes':>9}")
    with training_session(RunSettings(Path(), device=settings.device).hardware):
        for name, fit in make_fits(config, settings.batches):
            batches = fit.batches
            assert isinstance(batches, ShuffledBatches)
            seconds = step_seconds(fit, LaunchedBatches(batches), settings)
            launched, replayed = f"{1e3 * seconds:.2f}", ""
            if has_gpu:
                seconds = step_seconds(fit, batches, settings)
                replayed = f"{1e3 * seconds:.2f}"
            full, rest = divmod(NUM_IMAGES, batches.batch_size)
            steps = fit.epochs * (full + (rest > 0 and not batches.drop_last))
            print(
                f"{name:<14}{batches.batch_size:>6}{launched:>10}{replayed:>10}{steps:>9}"
                f"{steps * seconds / 60:>9.1f}"
            )


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
