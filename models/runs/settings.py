# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Settings: in groups, those that all command lines have, and those of repeated trainings."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch

from models.training.hardware import Hardware

__all__ = ["RunSettings", "Settings", "SettingsGroup"]


AnyGroup = TypeVar("AnyGroup", bound="SettingsGroup")


@dataclass(frozen=True)
class SettingsGroup:
    """Settings that belong together; the command line has all of them side by side.

    A group may hold others, and no two settings have the same name.
    """

    def validate(self) -> None:
        """Check the ranges of the settings.

        Raises:
            ValueError: If one is out of its range.
        """
        for name, value in vars(self).items():
            if isinstance(value, SettingsGroup):
                value.validate()
            elif isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{name} must be a finite number, but is {value}")

    def flat(self) -> dict[str, Any]:
        """All settings by their names, those of the groups that it holds among them."""
        settings: dict[str, Any] = {}
        for name, value in vars(self).items():
            settings |= value.flat() if isinstance(value, SettingsGroup) else {name: value}
        return settings

    def replaced(self: AnyGroup, **settings: Any) -> AnyGroup:
        """Give the same with other values of some settings, those of its groups among them.

        Raises:
            ValueError: If there is no setting of a name.
        """
        if unknown := [name for name in settings if name not in self.flat()]:
            raise ValueError(f"there is no setting {unknown[0]!r}, but {', '.join(self.flat())}")
        changes: dict[str, Any] = {}
        for name, value in vars(self).items():
            if isinstance(value, SettingsGroup):
                own = {key: x for key, x in settings.items() if key in value.flat()}
                changes[name] = value.replaced(**own)
            elif name in settings:
                changes[name] = settings[name]
        return replace(self, **changes)

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


@dataclass(frozen=True)
class Settings(SettingsGroup):
    """Where a run goes, and its seed.

    The settings of a command derive from this class, which also keeps the options of all command
    lines the same.
    """

    out: Path
    """Directory of the results; a run that is there already is replaced."""
    seed: int = 0
    """Seed of all random numbers, or that of the first repetition."""

    def validate(self) -> None:
        if self.out.exists() and not self.out.is_dir():
            raise ValueError(f"{self.out} must be a directory, but is a file")
        super().validate()
        self.require_non_negative("seed")


@dataclass(frozen=True)
class RunSettings(Settings):
    """How often a training is repeated, and on which device."""

    resume: bool = False
    """Continue the run in the directory of the results from its last checkpoints."""
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
    progress: bool = True
    """Whether to show progress bars."""

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
        super().validate()
        self.require_positive("seeds", "checkpoint_every", "devices", "num_nodes")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ValueError("device is cuda, but torch finds no GPU: use --device cpu")
        if self.torch_device.type == "cuda" and self.devices > torch.cuda.device_count():
            raise ValueError(
                f"devices must be at most {torch.cuda.device_count()}, the number of GPUs that "
                f"torch finds, but is {self.devices}"
            )

    def to_json(self) -> str:
        """All settings that the results depend on."""
        settings = {name: x for name, x in self.flat().items() if name not in _ASIDE}
        return json.dumps(settings, indent=2, default=str)


# Where files are and how a run is done; the results are the same.
_ASIDE = (
    "out",
    "data",
    "data_dir",
    "pretrained",
    "resume",
    "device",
    "strategy",
    "jobs",
    "progress",
)
