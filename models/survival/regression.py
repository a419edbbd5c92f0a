# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Cox regression: the model, its maximum and its posterior."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import MCMC, NUTS
from torch import Tensor

from models.runs.chains import ChainSettings, chains
from pyro_drpm.survival import CoxPartialLikelihood

__all__ = ["cox_model", "draw_coefficients", "most_likely"]

_NEWTON_STEPS = 20


def cox_model(covariates: Tensor, likelihood: CoxPartialLikelihood) -> None:
    r"""Log-hazards that are linear in the covariates.

    .. math:: \beta_j \sim N(0, 1), \qquad \eta = X \beta

    Args:
        covariates: ``X``, standardised, shape ``(n, p)``.
        likelihood: Of the times.
    """
    zero = covariates.new_zeros(())
    beta = pyro.sample("beta", dist.Normal(zero, 1.0).expand([covariates.shape[-1]]).to_event(1))
    pyro.factor("events", likelihood(covariates @ beta))


def draw_coefficients(
    covariates: Tensor,
    likelihood: CoxPartialLikelihood,
    settings: ChainSettings,
    *,
    seed: int = 0,
    progress: bool = True,
) -> MCMC:
    """Draw ``beta`` from its posterior by NUTS.

    Args:
        covariates: Shape ``(n, p)``.
        likelihood: Of the times.
        settings: Number and lengths of the chains.
        seed: Of Pyro's random numbers.
        progress: Whether to show a progress bar.
    """
    pyro.set_rng_seed(seed)
    mcmc = chains(NUTS(cox_model), settings, progress)
    mcmc.run(covariates, likelihood)
    return mcmc


def most_likely(covariates: Tensor, likelihood: CoxPartialLikelihood) -> Tensor:
    """The coefficients of the largest partial likelihood, shape ``(p,)``, by Newton's method."""

    def log_likelihood(beta: Tensor) -> Tensor:
        return likelihood(covariates @ beta)

    beta = covariates.new_zeros(covariates.shape[-1])
    for _ in range(_NEWTON_STEPS):
        slope = torch.autograd.functional.jacobian(log_likelihood, beta)
        curvature = torch.autograd.functional.hessian(log_likelihood, beta)
        beta = beta - torch.linalg.solve(curvature, slope)
    return beta
