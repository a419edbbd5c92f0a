# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Several chains of MCMC."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

from pyro.infer import MCMC
from pyro.infer.mcmc.mcmc_kernel import MCMCKernel

from models.runs.settings import SettingsGroup

__all__ = ["ChainSettings", "chains", "num_divergences"]


@dataclass(frozen=True)
class ChainSettings(SettingsGroup):
    """How many chains, and how long."""

    chains: int = 2
    """Number of chains."""
    warmup: int = 300
    """Steps of a chain that adapt the sampler and are dropped."""
    draws: int = 1000
    """Draws of a chain after that."""

    def validate(self) -> None:
        super().validate()
        self.require_positive("chains", "warmup")
        if self.draws < 4:  # what R-hat needs
            raise ValueError(f"draws must be at least 4, but is {self.draws}")


def chains(kernel: MCMCKernel, settings: ChainSettings, progress: bool = True) -> MCMC:
    """Set up several chains, which run one after another, without a warning, where cores are few.

    Args:
        kernel: Of every chain.
        settings: Their number and lengths.
        progress: Whether to show a progress bar.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "num_chains=.*available_cpu", UserWarning)
        return MCMC(
            kernel,
            num_samples=settings.draws,
            warmup_steps=settings.warmup,
            num_chains=settings.chains,
            disable_progbar=not progress,
        )


def num_divergences(mcmc: MCMC) -> int:
    """Count the draws of all chains whose trajectory diverged."""
    return sum(len(draws) for draws in mcmc.diagnostics()["divergences"].values())
