# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The partition of an election that was not observed, or not in full."""

from __future__ import annotations

import pyro
import torch
from pyro.infer import MCMC
from torch import Tensor

from models.elections.model import sample_election, sample_leans
from models.runs.chains import ChainSettings, chains
from pyro_drpm.infer import PartitionGibbs

__all__ = ["draw_forecast", "forecast_model"]


def forecast_model(partitions: Tensor, called: Tensor | None = None) -> Tensor:
    """Sample one election more than were observed.

    Args:
        partitions: Observed, shape ``(T, 2, n)``, float64.
        called: What is known of the next, shape ``(n,)``: 1 for states that are Republican, 0 for
            Democratic ones, NaN for others. By default nothing is.

    Returns:
        ``Y_next``, shape ``(2, n)``.

    Example:
        >>> forecast_model(torch.tensor([[[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]]).double()).shape
        torch.Size([2, 3])
    """
    num_elections, _, num_states = partitions.shape
    log_s = sample_leans(num_states)
    with pyro.plate("elections", num_elections, dim=-1), pyro.condition(data={"Y": partitions}):
        sample_election("log_omega", "Y", log_s)
    Y = sample_election("log_omega_next", "Y_next", log_s)
    if called is not None:
        with pyro.plate("states", num_states, dim=-1):
            agrees = called.isnan() | (Y[0] == called)
            pyro.factor("called", torch.where(agrees, 0.0, -torch.inf).to(Y))
    return Y


def draw_forecast(
    partitions: Tensor,
    called: Tensor | None,
    settings: ChainSettings,
    *,
    seed: int = 0,
    progress: bool = True,
) -> MCMC:
    """Draw from the posterior with :class:`~pyro_drpm.infer.PartitionGibbs` and NUTS.

    Args:
        partitions: Observed, shape ``(T, 2, n)``, float64.
        called: As for :func:`forecast_model`.
        settings: Number and lengths of the chains.
        seed: Of Pyro's random numbers.
        progress: Whether to show a progress bar.

    Returns:
        The finished run; ``Y_next`` is ``(2, n)``.
    """
    pyro.set_rng_seed(seed)
    mcmc = chains(PartitionGibbs(forecast_model), settings, progress)
    mcmc.run(partitions, called)
    return mcmc
