# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""A model with few partitions, whose posterior can be enumerated."""

from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from pyro_drpm import DRPM


class Clusters:
    """Elements ``x`` that lie around the location of their subset; 16 partitions."""

    omega = torch.tensor([1.0, 1.5], dtype=torch.float64)
    s = torch.tensor([1.0, 2.0, 1.0, 0.5], dtype=torch.float64)
    locations = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    x = torch.tensor([-1.2, 0.8, 1.1, -0.3], dtype=torch.float64)
    truth = torch.tensor([[1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 1.0, 0.0]], dtype=torch.float64)

    @property
    def prior(self) -> DRPM:
        return DRPM(self.omega, self.s)

    @property
    def partitions(self) -> Tensor:
        return self.prior.enumerate_support()

    def likelihood(self, Y: Tensor) -> Any:
        return dist.Normal((self.locations.unsqueeze(-1) * Y).sum(-2), 0.7).to_event(1)

    def model(self, infer: Any = None) -> Tensor:
        Y = pyro.sample("Y", self.prior, infer=infer)
        pyro.sample("x", self.likelihood(Y), obs=self.x)
        return Y

    def guide(self) -> None:
        pyro.sample("Y", self.posterior())

    def posterior(self) -> DRPM:
        """The guide's distribution."""
        log_omega = pyro.param("log_omega", torch.zeros_like(self.omega))
        log_s = pyro.param("log_s", torch.zeros_like(self.s))
        return DRPM(log_omega=log_omega, log_s=log_s)

    def log_joint(self) -> Tensor:
        """Of each partition."""
        Y = self.partitions
        return self.prior.log_prob(Y) + self.likelihood(Y).log_prob(self.x)

    def log_evidence(self) -> Tensor:
        return self.log_joint().logsumexp(0)

    def exact_loss(self, q: DRPM) -> Tensor:
        """The negative ELBO of a guide."""
        log_q = q.log_prob(self.partitions)
        return (log_q.exp() * (log_q - self.log_joint())).sum()


@pytest.fixture
def clusters() -> Clusters:
    return Clusters()


@pytest.fixture(autouse=True)
def fresh_pyro() -> None:
    pyro.clear_param_store()
