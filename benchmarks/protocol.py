# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""How long the paper's protocol for DRPM-VC takes, from a few epochs of every stage.

``python -m benchmarks.protocol`` times steps of the contrastive pretraining, of both VaDEs and of
DRPM-VC, with everything that an epoch has beside them, and tells how long all epochs of the
protocol take at that rate. On a GPU steps are timed twice: launched kernel by kernel, on
data that are moved there batch by batch, and replayed as CUDA graphs, on data that stay there,
which is what ``python -m models.vc`` does. Replayed epochs are whole ones. Others end after some
batches, so that what an epoch adds weighs more. Images are random, and nothing is validated.
"""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

import pyro
import torch
import tyro
from lightning.pytorch import LightningModule
from torch import Tensor

from models.runs.settings import RunSettings
from models.training.batches import Batches, ShuffledBatches
from models.training.hardware import Hardware
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

METHODS: tuple[Method, ...] = ("vade", "vade-frozen", "drpm")
EPOCHS = 2, 2, 7  # of one training that warms up, and of the two whose times are compared
NUM_IMAGES = {"digits": 1257, "mnist": 60_000, "fashion-mnist": 60_000}
WIDTH = {"digits": 8, "mnist": 28, "fashion-mnist": 28}


@dataclass(frozen=True)
class Settings:
    """Tell how long the paper's protocol takes."""

    dataset: Literal["digits", "mnist", "fashion-mnist"] = "mnist"
    """Whose settings are taken."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device to train on."""
    batches: int = 20
    """Batches of an epoch of steps that are launched one by one."""


class LaunchedBatches:
    """Batches of steps that are not captured.

    Args:
        batches: The same for steps that are.
        number: How many there are in an epoch at most.
    """

    def __init__(self, batches: ShuffledBatches, number: int) -> None:
        self.batches, self.number = batches, min(number, len(batches))

    def __len__(self) -> int:
        return self.number

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        return islice(self.batches, self.number)


def make_fits(config: Config) -> Iterator[tuple[str, Fit[LightningModule]]]:
    """Give every stage of the protocol."""
    networks, latent_dim, width = config.networks, config.networks.latent_dim, WIDTH[config.dataset]
    network = Autoencoder(width**2, networks.hidden, latent_dim, precision=networks.precision)
    priors = ClusterPriors(networks.num_clusters, latent_dim)
    torch.nn.init.normal_(priors.loc)

    images = torch.rand(NUM_IMAGES[config.dataset], 1, width, width)
    data = ClusterData(config.dataset, images, images[:1], labels=None)
    pretraining = PretrainingTask(
        copy.deepcopy(network), data, config.pretraining, networks.num_clusters, seed=0
    )
    yield "pretrain", PRETRAININGS["contrastive"]["pretrain"](pretraining)
    means = torch.zeros(len(images), latent_dim)
    task = ClusteringTask(
        network, priors, data, means, config.training, config.partition, config.scores, seed=0
    )
    for method in METHODS:
        yield method, TRAININGS[method](task)


def step_seconds(fit: Fit[LightningModule], batches: Batches, hardware: Hardware) -> float:
    """Seconds of a step, from the difference of two trainings, which capture the same steps."""
    seconds = []
    for epochs in EPOCHS:
        with tempfile.TemporaryDirectory() as directory:
            stage = Stage("steps", Path(directory), 0, epochs, 100, hardware, progress=False)
            start = time.perf_counter()
            stage.fit(copy.deepcopy(fit.training), batches)
            seconds.append(time.perf_counter() - start)
    _, shorter, longer = seconds
    return (longer - shorter) / (EPOCHS[2] - EPOCHS[1]) / len(batches)


class Row(NamedTuple):
    """What is known about a stage.

    Attributes:
        stage: Its name.
        batch_size: Rows of a batch.
        launched: Milliseconds of a step whose kernels are launched one by one.
        replayed: Milliseconds of a step that is replayed; none without a GPU.
        steps: Number of steps of the protocol.
    """

    stage: str
    batch_size: int
    launched: float
    replayed: float | None
    steps: int

    @property
    def minutes(self) -> float:
        """What all steps take in the faster of the two ways."""
        return self.steps * min(self.launched, self.replayed or self.launched) / 60e3


def measure(settings: Settings) -> Iterator[Row]:
    """Time every stage of the protocol."""
    torch.manual_seed(0)
    config = PRESETS[f"{settings.dataset}-paper"]
    hardware = RunSettings(Path(), device=settings.device).hardware
    with training_session(hardware), pyro.validation_enabled(False):
        for name, fit in make_fits(config):
            batches = fit.batches
            assert isinstance(batches, ShuffledBatches)
            some = LaunchedBatches(batches, settings.batches)
            launched = 1e3 * step_seconds(fit, some, hardware)
            replayed = 1e3 * step_seconds(fit, batches, hardware) if hardware.has_one_gpu else None
            yield Row(name, batches.batch_size, launched, replayed, fit.epochs * len(batches))


def main(settings: Settings) -> None:
    """Prints a table."""
    has_gpu = settings.device != "cpu" and torch.cuda.is_available()
    device = torch.cuda.get_device_name() if has_gpu else f"{torch.get_num_threads()} threads"
    print(f"{settings.dataset}, {device}, torch {torch.__version__}, milliseconds per step")
    print(f"{'stage':<14}{'batch':>6}{'launched':>10}{'replayed':>10}{'steps':>9}{'minutes':>9}")
    for row in measure(settings):
        replayed = "" if row.replayed is None else f"{row.replayed:.2f}"
        print(
            f"{row.stage:<14}{row.batch_size:>6}{row.launched:>10.2f}{replayed:>10}{row.steps:>9}"
            f"{row.minutes:>9.1f}"
        )


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
