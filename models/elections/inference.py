# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The posterior of leans and swings: NUTS, and guides that approximate it."""

from __future__ import annotations

from collections.abc import Callable

import pyro
import torch
from pyro.infer import MCMC, NUTS, SVI, Trace_ELBO
from pyro.infer.autoguide import AutoContinuous
from pyro.optim import ClippedAdam
from torch import Tensor
from tqdm import trange

from models.elections.model import elections_model
from models.runs.chains import ChainSettings, chains

__all__ = ["draw_posterior", "fit_guide"]


def draw_posterior(
    partitions: Tensor,
    settings: ChainSettings,
    *,
    seed: int = 0,
    progress: bool = True,
) -> MCMC:
    """Draw from the posterior with NUTS, through the exact log-mass of the DRPM.

    Args:
        partitions: What is observed, shape ``(T, 2, n)``.
        settings: Number and lengths of the chains.
        seed: Of Pyro's random numbers.
        progress: Whether to show a progress bar.

    Returns:
        The finished run; its sites are ``log_s`` ``(n,)`` and ``log_omega`` ``(T,)``.
    """
    pyro.set_rng_seed(seed)
    num_elections, _, num_states = partitions.shape
    model = pyro.condition(elections_model, data={"Y": partitions})
    mcmc = chains(NUTS(model), settings, progress)
    mcmc.run(num_elections, num_states)
    return mcmc


def fit_guide(
    partitions: Tensor,
    guide_type: Callable[..., AutoContinuous],
    *,
    num_steps: int = 3000,
    num_draws: int = 2000,
    seed: int = 0,
    progress: bool = True,
) -> tuple[dict[str, Tensor], list[float]]:
    """Approximate the posterior by SVI.

    Args:
        partitions: What is observed, shape ``(T, 2, n)``.
        guide_type: Kind of guide, for example :class:`pyro.infer.autoguide.AutoNormal`.
        num_steps: Steps of the optimiser, whose learning rate falls from 0.1 to 0.001.
        num_draws: Draws from the guide.
        seed: Of Pyro's random numbers.
        progress: Whether to show a progress bar.

    Returns:
        Draws of ``log_s`` ``(draws, n)`` and ``log_omega`` ``(draws, T)`` from the guide, and the
        loss of every step.
    """
    pyro.set_rng_seed(seed)
    num_elections, _, num_states = partitions.shape
    model = pyro.condition(elections_model, data={"Y": partitions})
    guide = guide_type(model)
    optimizer = ClippedAdam({"lr": 0.1, "lrd": 0.01 ** (1 / num_steps)})
    # Guides of a kind have parameters of the same names, which must not meet in Pyro's store.
    with pyro.get_param_store().scope():
        svi = SVI(model, guide, optimizer, Trace_ELBO())
        steps = trange(num_steps, desc=type(guide).__name__, disable=not progress)
        losses = [svi.step(num_elections, num_states) for _ in steps]
        with torch.no_grad():
            draws = [guide() for _ in range(num_draws)]
    return {name: torch.stack([draw[name] for draw in draws]) for name in draws[0]}, losses
