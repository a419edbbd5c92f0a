# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Settings that the runs of all models have."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from models.hardware import Hardware

__all__ = ["RunSettings"]


@dataclass(frozen=True)
class RunSettings:
    """Where a run goes, how often it is repeated, and on which device.

    A model's settings derive from this class, which also keeps the options of all command lines
    the same.
    """

    out: Path
    """Directory of the results; a run that is there already is replaced."""
    resume: bool = False
    """Continue the run in the directory of the results from its last checkpoints."""
    seed: int = 0
    """Seed of the first repetition."""
    seeds: int = 1
    """Number of repetitions, with consecutive seeds."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device to train on."""
    devices: int = 1
    """Number of devices of this machine, or of processes where they are no GPUs."""
    num_nodes: int = 1
    """Number of machines, on each of which the command is started."""
    strategy: Literal["auto", "ddp"] = "auto"
    """How several devices train together."""
    checkpoint_every: int = 1
    """Epochs from one checkpoint to the next."""

    @property
    def all_seeds(self) -> range:
        """Seeds of all repetitions."""
        return range(self.seed, self.seed + self.seeds)

    @property
    def torch_device(self) -> torch.device:
        """Where data is best kept."""
        has_gpu = self.device != "cpu" and torch.cuda.is_available()
        return torch.device("cuda" if has_gpu else "cpu")

    @property
    def hardware(self) -> Hardware:
        """Where trainings run."""
        return Hardware(self.device, self.devices, self.num_nodes, self.strategy)

    def validate(self) -> None:
        """Check the ranges of the settings.

        Raises:
            ValueError: If one is out of its range, or there is no GPU to train on.
        """
        self.require_positive("seeds", "checkpoint_every", "devices", "num_nodes")
        self.require_non_negative("seed")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ValueError("device is cuda, but torch finds no GPU: use --device cpu")
        if self.torch_device.type == "cuda" and self.devices > torch.cuda.device_count():
            raise ValueError(
                f"devices must be at most {torch.cuda.device_count()}, the number of GPUs that "
                f"torch finds, but is {self.devices}"
            )

    def require_positive(self, *names: str) -> None:
        """Check that settings are above zero; raise :class:`ValueError` otherwise."""
        for name in names:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, but is {getattr(self, name)}")

    def require_non_negative(self, *names: str) -> None:
        """Check that settings are not below zero; raise :class:`ValueError` otherwise."""
        for name in names:
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, but is {getattr(self, name)}")

    def require_different(self, *names: str) -> None:
        """Check that settings hold values, none twice; raise :class:`ValueError` otherwise."""
        for name in names:
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise ValueError(f"{name} must hold different values, but is {values}")

    def to_json(self) -> str:
        """All settings that the results depend on."""
        settings = dataclasses.asdict(self)
        return json.dumps({k: v for k, v in settings.items() if k not in _ASIDE}, indent=2)


# Where files are and how a run is done; the results are the same.
_ASIDE = ("out", "data_dir", "resume", "device", "strategy", "jobs")
