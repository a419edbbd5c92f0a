# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Scores of alternatives, given rankings with ties."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import MCMC, NUTS
from torch import Tensor

from models.rankings.data import Ballots
from models.runs.chains import ChainSettings, chains
from pyro_drpm.distributions import TiedPlackettLuce

__all__ = ["draw_scores", "held_out", "most_probable", "ranking_model"]

SCORE_SCALE = 2.0  # standard deviation of log-scores among the alternatives
_LBFGS_STEPS = 50


def ranking_model(ballots: Ballots) -> None:
    r"""All voters rank by the same scores.

    .. math:: \log s_i \sim N(0, 2^2), \qquad y_v \sim \mathrm{TiedPlackettLuce}(s)

    Args:
        ballots: What is observed.
    """
    zero = torch.zeros((), dtype=torch.float64)
    number, n = ballots.value.shape
    log_s = pyro.sample("log_s", dist.Normal(zero, SCORE_SCALE).expand([n]).to_event(1))
    with pyro.plate("ballots", number), pyro.poutine.scale(scale=ballots.voters):
        pyro.sample("ranking", TiedPlackettLuce(log_s=log_s), obs=ballots.value)


def draw_scores(
    ballots: Ballots,
    settings: ChainSettings,
    *,
    seed: int = 0,
    progress: bool = True,
) -> MCMC:
    """Draw ``log_s`` from its posterior by NUTS.

    Args:
        ballots: What is observed.
        settings: Number and lengths of the chains.
        seed: Of Pyro's random numbers.
        progress: Whether to show a progress bar.
    """
    pyro.set_rng_seed(seed)
    mcmc = chains(NUTS(ranking_model), settings, progress)
    mcmc.run(ballots)
    return mcmc


def most_probable(ballots: Ballots) -> Tensor:
    """Log-scores of the highest posterior density, shape ``(n,)``."""
    log_s = torch.zeros(len(ballots.names), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_s], max_iter=_LBFGS_STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        conditioned = pyro.condition(ranking_model, data={"log_s": log_s})
        trace = pyro.poutine.trace(conditioned).get_trace(ballots)
        loss = -torch.as_tensor(trace.log_prob_sum())
        loss.backward()
        return loss

    optimizer.step(closure)
    return log_s.detach()


def held_out(ballots: Ballots, seen: Ballots) -> float:
    """Mean log-probability of each ranking under scores that were fitted to the others.

    Args:
        ballots: The rankings as they are.
        seen: The same as the fit sees them, with ties broken, say.
    """
    log_probs = [
        TiedPlackettLuce(log_s=most_probable(seen.without(at))).log_prob(ballots.value[at])
        for at in range(len(ballots.value))
    ]
    return float((torch.stack(log_probs) * ballots.voters).sum() / ballots.voters.sum())
