# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""What a run has trained, from its checkpoints."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from models.runs.directory import read_settings
from models.training.stages import read_checkpoint
from models.vc.config import Method, NetworkSettings
from models.vc.methods import TRAININGS
from models.vc.networks import Autoencoder
from models.vc.priors import ClusterPriors

__all__ = ["Trained", "load_trained", "make_trained"]


class Trained(NamedTuple):
    """What a method has trained.

    Attributes:
        network: Encoder and decoder.
        priors: The Gaussians of the clusters.
        sizes: Sizes of the clusters of DRPM-VC, shape ``(K,)``, if they were known.
    """

    network: Autoencoder
    priors: ClusterPriors
    sizes: Tensor | None = None


def make_trained(settings: NetworkSettings, num_values: int) -> Trained:
    """Make untrained parts.

    Args:
        settings: Their sizes.
        num_values: Number of values of an item.
    """
    network = Autoencoder(
        num_values,
        settings.hidden,
        settings.latent_dim,
        settings.likelihood,
        settings.precision,
    )
    priors = ClusterPriors(settings.num_clusters, settings.latent_dim, settings.covariance)
    return Trained(network, priors)


def load_trained(run: Path, method: Method = "drpm", repetition: str | None = None) -> Trained:
    """Load the network and the priors of a method from its last checkpoint, onto the CPU.

    Args:
        run: Directory of a run, such as ``runs/vc/mnist``.
        method: A method that is trained.
        repetition: One of its directories, such as ``"neighbors/seed-0"``; needed if there are
            several.

    Raises:
        ValueError: If the method is not trained, a file is missing, damaged, or of another run, or
            there are several repetitions to choose from.
    """
    if method not in TRAININGS:
        raise ValueError(f"method must be one of {', '.join(TRAININGS)}, but is {method}")
    settings = _network_settings(run)
    path = run / (repetition or _only_repetition(run)) / f"{method}.ckpt"
    if not path.is_file():
        raise ValueError(f"{method} has not been trained in this run: {path} is missing")
    state = read_checkpoint(path)["state_dict"]
    try:
        trained = make_trained(settings, len(state["network.decoder.layers.1.bias"]))
        _load_part(trained.network, state, "network.")
        _load_part(trained.priors, state, "priors.")
    except (KeyError, RuntimeError) as error:  # other names, other shapes
        raise ValueError(f"{path} has other networks than {run / 'config.json'} says") from error
    return trained._replace(sizes=state.get("objective.model.size_prior.sizes"))


def _only_repetition(run: Path) -> str:
    found = sorted(path.relative_to(run).as_posix() for path in run.glob("*/seed-*"))
    if len(found) != 1:
        raise ValueError(
            f"repetition must be one of {', '.join(found)}" if found else f"{run} has no repetition"
        )
    return found[0]


def _network_settings(run: Path) -> NetworkSettings:
    stored = read_settings(run)
    names = [field.name for field in fields(NetworkSettings)]
    if missing := [name for name in names if name not in stored]:
        raise ValueError(f"{run / 'config.json'} is of another model: it has no {missing[0]}")
    values: dict[str, Any] = {name: stored[name] for name in names}
    return NetworkSettings(**{**values, "hidden": tuple(stored["hidden"])})


def _load_part(part: nn.Module, state: dict[str, Tensor], prefix: str) -> None:
    part.load_state_dict(
        {name.removeprefix(prefix): x for name, x in state.items() if name.startswith(prefix)}
    )
