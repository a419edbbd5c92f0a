# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""What a run has trained, from its checkpoints."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn

from models.runs.directory import read_settings
from models.training.stages import read_checkpoint
from models.vc.config import Method, NetworkSettings
from models.vc.methods import TRAININGS
from models.vc.networks import Autoencoder
from models.vc.priors import ClusterPriors

__all__ = ["Trained", "load_trained"]


class Trained(NamedTuple):
    """What a method has trained.

    Attributes:
        network: Encoder and decoder.
        priors: The Gaussians and the weights of the clusters.
    """

    network: Autoencoder
    priors: ClusterPriors


def load_trained(repetition: Path, method: Method) -> Trained:
    """Load the network and the priors of a method from its last checkpoint, onto the CPU.

    Args:
        repetition: Directory of a repetition, such as ``runs/vc/mnist/neighbors/seed-0``. That of
            the run, two levels above, has the settings.
        method: A method that is trained.

    Raises:
        ValueError: If the method is not trained, or a file is missing, damaged, or of another run.
    """
    if method not in TRAININGS:
        raise ValueError(f"method must be one of {', '.join(TRAININGS)}, but is {method}")
    path, run = repetition / f"{method}.ckpt", repetition.resolve().parents[1]
    sizes = _network_settings(run)
    if not path.is_file():
        raise ValueError(f"{method} has not been trained in this run: {path} is missing")
    state = read_checkpoint(path)["state_dict"]
    try:
        num_pixels = len(state["network.decoder.1.bias"])
        network = Autoencoder(num_pixels, sizes.hidden, sizes.latent_dim)
        priors = ClusterPriors(sizes.num_clusters, sizes.latent_dim)
        _load_part(network, state, "network.")
        _load_part(priors, state, "priors.")
    except (KeyError, RuntimeError) as error:  # other names, other shapes
        raise ValueError(f"{path} has other networks than {run / 'config.json'} says") from error
    return Trained(network, priors)


def _network_settings(run: Path) -> NetworkSettings:
    stored = read_settings(run)
    names = [field.name for field in fields(NetworkSettings)]
    if missing := [name for name in names if name not in stored]:
        raise ValueError(f"{run / 'config.json'} is of another model: it has no {missing[0]}")
    return NetworkSettings(tuple(stored["hidden"]), stored["latent_dim"], stored["num_clusters"])


def _load_part(part: nn.Module, state: dict[str, Tensor], prefix: str) -> None:
    part.load_state_dict(
        {name.removeprefix(prefix): x for name, x in state.items() if name.startswith(prefix)}
    )
