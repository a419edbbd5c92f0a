# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Time and memory of a Cox partial likelihood and its gradient, beside other programs.

``python -m benchmarks.survival`` writes ``results/survival/speed.csv``. torchsurv and lifelines are
timed if they are installed; lifelines has no gradient for a network, so that a step of its Newton's
method with five covariates stands for it.
"""

from __future__ import annotations

import importlib.util
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
import tyro
from torch import Tensor

from models.runs.tables import format_table, write_csv
from pyro_drpm.survival import CoxPartialLikelihood, TieMethod

COVARIATES = 5


class Data(NamedTuple):
    """Times of subjects, in so many different ones."""

    covariates: Tensor
    time: Tensor
    event: Tensor


def make_data(n: int, times: int) -> Data:
    """Exponential times in periods of equal numbers of subjects; three in ten are censored."""
    x = torch.randn(n, COVARIATES, dtype=torch.float64)
    time = torch.distributions.Exponential((0.3 * x.sum(-1)).exp()).sample()
    return Data(x, time.argsort().argsort() * times // n + 1, torch.rand(n) < 0.7)


def ours(data: Data, ties: TieMethod) -> Callable[[], object]:
    """A step of ours."""
    likelihood = CoxPartialLikelihood(data.time, data.event, ties=ties)
    log_hazard = (0.3 * data.covariates.sum(-1)).requires_grad_()
    return lambda: torch.autograd.grad(likelihood(log_hazard), log_hazard)


def torchsurv_efron(data: Data) -> Callable[[], object]:
    """The same by torchsurv."""
    from torchsurv.loss.cox import neg_partial_log_likelihood

    log_hazard = (0.3 * data.covariates.sum(-1)).requires_grad_()
    times = data.time.double()

    def step() -> object:
        loss = neg_partial_log_likelihood(
            log_hazard, data.event, times, ties_method="efron", reduction="sum", checks=False
        )
        return torch.autograd.grad(loss, log_hazard)

    return step


def lifelines_efron(data: Data) -> Callable[[], object]:
    """A fit by lifelines, without what it computes of the baseline hazard."""
    from lifelines import CoxPHFitter
    from pandas import DataFrame

    frame = DataFrame(data.covariates.numpy()).assign(time=data.time, event=data.event)
    return lambda: CoxPHFitter().fit(frame, "time", "event")


def cases(data: Data) -> Iterator[tuple[str, Callable[[], object]]]:
    """All programs that there are."""
    yield "exact", ours(data, "exact")
    yield "Efron", ours(data, "efron")
    yield "Breslow", ours(data, "breslow")
    if importlib.util.find_spec("torchsurv"):
        yield "Efron (torchsurv)", torchsurv_efron(data)
    if importlib.util.find_spec("lifelines"):
        yield "Efron, whole fit (lifelines)", lifelines_efron(data)
