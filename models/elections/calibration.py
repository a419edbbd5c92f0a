# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Simulation-based calibration: whether posteriors are as wide as they should be.

References:
    Talts, S., Betancourt, M., Simpson, D., Vehtari, A., Gelman, A.: Validating Bayesian inference
    algorithms with simulation-based calibration. arXiv 1804.06788, 2018.
"""

from __future__ import annotations

from typing import Any

import pyro
from pyro import poutine
from pyro.infer import MCMC, NUTS
from torch import Tensor

from models.elections.model import elections_model

__all__ = ["calibration_ranks", "rank_counts"]


def calibration_ranks(
    num_replications: int,
    *,
    num_elections: int = 3,
    num_states: int = 5,
    num_warmup: int = 300,
    num_draws: int = 99,
    thinning: int = 5,
    seed: int = 0,
    progress: bool = True,
) -> dict[str, Tensor]:
    """Rank true parameters among draws from the posterior of the data that they gave rise to.

    Parameters are drawn from the prior and partitions from these; then NUTS draws from the
    posterior. Where it is right, ranks are uniform. All replications are elements of one plate, and
    one chain serves them all: given their data they are independent of each other.

    Args:
        num_replications: Number ``R`` of data sets.
        num_elections: Number ``T`` of partitions of a data set.
        num_states: Number ``n`` of elements.
        num_warmup: Steps of the chain that adapt the sampler and are dropped.
        num_draws: Number ``L`` of draws that are kept.
        thinning: Steps of the chain from one of them to the next.
        seed: Of Pyro's random numbers.
        progress: Whether to show a progress bar.

    Returns:
        How many of the draws are below the truth, from 0 to ``L``: ``log_s`` ``(R, n)`` and
        ``log_omega`` ``(R, T)``.
    """
    pyro.set_rng_seed(seed)

    def replicated() -> Tensor:
        with pyro.plate("replications", num_replications, dim=-2):
            return elections_model(num_elections, num_states)

    truth: Any = poutine.trace(replicated).get_trace()
    conditioned = pyro.condition(replicated, data={"Y": truth.nodes["Y"]["value"]})
    mcmc = MCMC(
        NUTS(conditioned),
        num_samples=num_draws * thinning,
        warmup_steps=num_warmup,
        disable_progbar=not progress,
    )
    mcmc.run()
    draws = {name: values[::thinning] for name, values in mcmc.get_samples().items()}
    ranks = {name: (draws[name] < truth.nodes[name]["value"]).sum(0) for name in draws}
    return {"log_s": ranks["log_s"].squeeze(-2), "log_omega": ranks["log_omega"]}


def rank_counts(ranks: Tensor, num_draws: int, num_bins: int) -> Tensor:
    """Count ranks from 0 to ``num_draws`` in bins of equal width.

    Args:
        ranks: Shape ``(R,)``.
        num_draws: The highest possible rank.
        num_bins: Number of bins, a divisor of ``num_draws + 1``.

    Returns:
        Shape ``(num_bins,)``.

    Example:
        >>> import torch
        >>> rank_counts(torch.tensor([0, 4, 5, 9]), num_draws=9, num_bins=2)
        tensor([2, 2])
    """
    return (ranks * num_bins // (num_draws + 1)).bincount(minlength=num_bins)
