# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Posterior draws of leans and swings in ArviZ, by state and by year."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pandas import DataFrame
from pyro.infer import MCMC
from torch import Tensor

from models.elections.data import Elections
from pyro_drpm.optional import require
from pyro_drpm.partitions import to_arviz

__all__ = ["named_draws", "summarize"]


def named_draws(posterior: MCMC | Mapping[str, Tensor], elections: Elections) -> Any:
    """Convert draws to ArviZ; ``log_s`` has the dim ``state``, ``log_omega`` the dim ``year``."""
    dims = {"log_s": ["state"], "log_omega": ["year"]}
    coords = {"state": elections.states, "year": elections.years}
    return to_arviz(posterior, dims=dims, coords=coords)


def summarize(posterior: MCMC | Mapping[str, Tensor], elections: Elections) -> DataFrame:
    """Give means and standard deviations, for MCMC effective sample sizes and R-hat as well.

    Returns:
        A row for every state, ``"log_s[AL]"`` for example, and every year, ``"log_omega[1992]"``.
    """
    kind = "all" if isinstance(posterior, MCMC) else "stats"
    data = named_draws(posterior, elections)
    table: DataFrame = require("arviz", "arviz").summary(data, kind=kind, round_to="none")
    return table
