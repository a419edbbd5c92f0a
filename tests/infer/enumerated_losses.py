# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Losses over all partitions, their minima, and gradients that should be theirs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pyro_drpm import DRPM

# Weights of the two terms, unlike each other and 1.
GAMMA, DELTA = 0.7, 1.3


def enumerated(bound: str, q: DRPM, p: DRPM, gamma: float = 1.0, delta: float = 1.0) -> Tensor:
    """The mean of the partition's terms over all partitions."""
    Y = q.enumerate_support()
    if bound == "exact":
        of_guide, of_model = q.log_prob_parts(Y), p.log_prob_parts(Y)
    else:
        of_guide = q.upper_bound_parts(Y, bound="tight" if bound == "tight" else "lemma")
        of_model = p.lower_bound_parts(Y)
    terms = gamma * (of_guide[0] - of_model[0]) + delta * (of_guide[1] - of_model[1])
    return (q.log_prob(Y).exp() * terms).sum()


def lowest(loss: Callable[[DRPM], Tensor], *like: Tensor) -> float:
    """Least value on the way of exact gradients from flat parameters.

    The lemma's bound has kinks and several minima; small steps lead to the one nearby.
    """
    parameters = [torch.zeros_like(x).requires_grad_() for x in like]
    optimiser = torch.optim.Adam(parameters, lr=0.03)
    values = []
    for _ in range(300):
        optimiser.zero_grad()
        value: Any = loss(DRPM(log_omega=parameters[0], log_s=parameters[1]))
        value.backward()
        optimiser.step()
        values.append(value.item())
    return min(values)


def check_unbiased(draws: Tensor, exact: Tensor) -> None:
    """Means lie within the standard errors of the exact values, up to the nodes' accuracy."""
    error = draws.std(0) / len(draws) ** 0.5
    assert ((draws.mean(0) - exact).abs() <= 4.5 * error + 2e-3 * exact.abs().max()).all()
