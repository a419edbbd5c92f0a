# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The generative story of elections: every state leans, and every year swings."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from pyro_drpm import DRPM

__all__ = ["elections_model", "sample_election", "sample_leans"]

LEAN_SCALE = 3.0  # standard deviation of log-scores among the states


def elections_model(num_elections: int, num_states: int) -> Tensor:
    r"""Sample how the states vote in each of several elections.

    .. math::
        \log s_i &\sim N(0, 3^2) \quad \text{for each state } i, \\
        \log \omega_t &\sim N(0, 1) \quad \text{for each election } t, \\
        Y_t &\sim \mathrm{DRPM}((\omega_t, 1), s)

    The first subset, which tends to hold the states of highest score, is Republican; so
    ``log_s`` says how far a state leans to that side, and ``log_omega`` how far a year does. Both
    are logarithms, so that MCMC moves freely. To infer them, condition on ``Y``.

    The plate of elections takes dim -1, so that another plate can repeat the whole story at dim -2.

    Args:
        num_elections: Number ``T`` of elections.
        num_states: Number ``n`` of states.

    Returns:
        ``Y``, shape ``(T, 2, n)``, float64.

    Example:
        >>> elections_model(num_elections=3, num_states=5).shape
        torch.Size([3, 2, 5])
    """
    log_s = sample_leans(num_states)
    with pyro.plate("elections", num_elections, dim=-1):
        return sample_election("log_omega", "Y", log_s)


def sample_leans(num_states: int) -> Tensor:
    """Log-scores of the states, shape ``(n,)``."""
    zero = torch.zeros((), dtype=torch.float64)
    leans: Tensor = pyro.sample(
        "log_s", dist.Normal(zero, LEAN_SCALE).expand([num_states]).to_event(1)
    )
    return leans


def sample_election(swing: str, partition: str, log_s: Tensor) -> Tensor:
    """How the states vote, given their leans.

    Args:
        swing: Name of the site of the year's log-weight.
        partition: Name of that of the partition.
        log_s: Log-scores, shape ``(n,)``.

    Returns:
        Shape ``(2, n)``, or ``(T, 2, n)`` in a plate of ``T`` elections.
    """
    log_omega = pyro.sample(swing, dist.Normal(log_s.new_zeros(()), 1.0))
    weights = torch.stack([log_omega, torch.zeros_like(log_omega)], -1)
    Y: Tensor = pyro.sample(partition, DRPM(log_omega=weights, log_s=log_s))
    return Y
