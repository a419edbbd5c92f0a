# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Several chains of MCMC."""

from __future__ import annotations

import warnings

from pyro.infer import MCMC
from pyro.infer.mcmc.mcmc_kernel import MCMCKernel

__all__ = ["chains", "num_divergences"]


def chains(
    kernel: MCMCKernel, num_chains: int, num_warmup: int, num_draws: int, progress: bool = True
) -> MCMC:
    """Set up several chains, which run one after another, without a warning, where cores are few.

    Args:
        kernel: Of every chain.
        num_chains: Number of chains.
        num_warmup: Steps of each chain that adapt the sampler and are dropped.
        num_draws: Draws of each chain.
        progress: Whether to show a progress bar.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "num_chains=.*available_cpu", UserWarning)
        return MCMC(
            kernel,
            num_samples=num_draws,
            warmup_steps=num_warmup,
            num_chains=num_chains,
            disable_progbar=not progress,
        )


def num_divergences(mcmc: MCMC) -> int:
    """Count the draws of all chains whose trajectory diverged."""
    return sum(len(draws) for draws in mcmc.diagnostics()["divergences"].values())
