# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The leave-one-out estimator's gradients against those of the enumerated loss."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI
from pyro.optim import PyroOptim
from torch import Tensor

from pyro_drpm import DRPM
from pyro_drpm.infer import TracePartition_ELBO
from tests.infer.enumerated_losses import DELTA, GAMMA, check_unbiased, enumerated, lowest

RLOO: Any = {"estimator": "rloo"}


class Table:
    """A likelihood with an arbitrary value for every partition of five elements."""

    def __init__(self, num_subsets: int) -> None:
        generator = torch.Generator().manual_seed(3)
        self.place = num_subsets ** torch.arange(5)
        self.values = 2 * torch.randn(num_subsets**5, generator=generator, dtype=torch.float64)

    def __call__(self, Y: Tensor) -> Tensor:
        return self.values[(Y.detach().argmax(-2) * self.place).sum(-1)]


@pytest.mark.statistical
@pytest.mark.parametrize("num_particles", [2, 8])
@pytest.mark.parametrize("vectorized", [True, False])
def test_leave_one_out_has_no_bias_for_any_function(num_particles: int, vectorized: bool) -> None:
    """Several sites: a partition in a plate, another in none, and a categorical variable."""
    torch.manual_seed(0)
    draws = 4_000 if num_particles == 2 else 1_000
    f, g = Table(3), Table(2)
    w, s, logits = (torch.randn(size, dtype=torch.float64) for size in (3, 5, 4))
    p = DRPM(log_omega=torch.randn(3).double(), log_s=torch.randn(5).double())
    other_p = DRPM(torch.ones(2).double(), torch.ones(5).double())
    leaves = [x.expand(draws, -1).clone().requires_grad_() for x in (w, s, logits)]
    of_other = torch.randn(5, dtype=torch.float64, requires_grad=True)

    def model() -> None:
        other = pyro.sample("other", other_p)
        with pyro.plate("draws", draws):
            Y = pyro.sample("Y", p)
            c = pyro.sample("c", dist.Categorical(torch.ones(4).double()))
            pyro.factor("f", f(Y) * (c == 1) + 0.1 * g(other) * c)

    def guide() -> None:
        pyro.sample("other", DRPM(log_omega=torch.zeros(2).double(), log_s=of_other))
        with pyro.plate("draws", draws):
            pyro.sample("Y", DRPM(log_omega=leaves[0], log_s=leaves[1]))
            pyro.sample("c", dist.Categorical(logits=leaves[2]))

    elbo = TracePartition_ELBO(
        "exact",
        GAMMA,
        DELTA,
        "rloo",
        num_particles=num_particles,
        vectorize_particles=vectorized,
        max_plate_nesting=1,
    )
    estimates = torch.autograd.grad(elbo.differentiable_loss(model, guide), leaves)

    exact_leaves = [x.clone().requires_grad_() for x in (w, s, logits)]
    q = DRPM(log_omega=exact_leaves[0], log_s=exact_leaves[1])
    prob = exact_leaves[2].softmax(-1)
    Y, other = q.enumerate_support(), other_p.enumerate_support()
    of_c = (prob * (prob.log() + torch.tensor(4.0).log())).sum()
    other_q = DRPM(log_omega=torch.zeros(2).double(), log_s=of_other.detach())
    mean_g = (other_q.log_prob(other).exp() * g(other)).sum()
    mean_f = (q.log_prob(Y).exp() * f(Y)).sum() * prob[1] + 0.1 * mean_g * (
        prob * torch.arange(4)
    ).sum()
    objective = enumerated("exact", q, p, GAMMA, DELTA) + of_c - mean_f
    exact = torch.autograd.grad(objective, exact_leaves)
    for estimate, x in zip(estimates, exact, strict=True):
        check_unbiased(estimate, x)


def test_leave_one_out_at_one_site() -> None:
    """Only the site that asks for it is without a gradient through its draws."""
    torch.manual_seed(0)
    leaves = [torch.randn(5, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    drawn: dict[str, Tensor] = {}

    def program(scores: list[Tensor], infer: Any) -> None:
        for name, log_s in zip(("first", "second"), scores, strict=True):
            options = infer if name == "first" else None
            fn = DRPM(log_omega=torch.zeros(2).double(), log_s=log_s)
            drawn[name] = pyro.sample(name, fn, infer=options)

    elbo = TracePartition_ELBO(num_particles=8)
    loss = elbo.differentiable_loss(
        lambda: program([torch.zeros(5).double()] * 2, None),
        lambda: program(leaves, RLOO),
    )
    assert drawn["second"].requires_grad and not drawn["first"].requires_grad
    loss.backward()
    assert all(leaf.grad is not None and leaf.grad.abs().sum() > 0 for leaf in leaves)


@pytest.mark.statistical
def test_leave_one_out_takes_partitions_that_are_not_reparametrised(clusters: Any) -> None:
    def guide() -> None:
        pyro.sample("Y", clusters.posterior().has_rsample_(False))

    elbo = TracePartition_ELBO(
        estimator="rloo", num_particles=8, vectorize_particles=True, max_plate_nesting=0
    )
    svi = SVI(clusters.model, guide, PyroOptim(torch.optim.Adam, {"lr": 0.1}), elbo)
    start = clusters.exact_loss(clusters.posterior()).item()
    for _ in range(150):
        svi.step()
    reached = clusters.exact_loss(clusters.posterior()).item()
    least = lowest(clusters.exact_loss, clusters.omega, clusters.s)
    assert reached <= least + 0.1 * (start - least)


def test_errors(clusters: Any) -> None:
    with pytest.raises(ValueError, match=r"one of flow, rloo, but got 'reinforce'"):
        TracePartition_ELBO(estimator="reinforce")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"at least 2 .* but got 1"):
        TracePartition_ELBO(estimator="rloo")

    def guide() -> None:
        pyro.sample("Y", clusters.posterior(), infer=RLOO)

    with pytest.raises(ValueError, match=r"at least 2 .* but got 1"):
        TracePartition_ELBO().differentiable_loss(clusters.model, guide)
