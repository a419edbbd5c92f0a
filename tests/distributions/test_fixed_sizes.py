# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Sizes without noise."""

from __future__ import annotations

from typing import Any

import pyro
import pytest
import torch
from pyro import poutine
from torch import Tensor
from torch.distributions import kl_divergence

from pyro_drpm import DRPM, MultivariateFisherHypergeometric
from pyro_drpm.distributions import (
    FixedSizes,
)
from pyro_drpm.infer import DRPMReparam, TracePartition_ELBO
from tests.distributions.size_laws import (
    DRAWS,
    LAWS,
    K,
    N,
    parameter,
)


def test_the_sizes_have_all_mass() -> None:
    law = FixedSizes(torch.tensor([[2, 2, 1], [0, 5, 0]]))
    assert law.batch_shape == (2,) and law.total_count == N
    assert torch.equal(law.sample((3,)), law.sizes.expand(3, 2, K))
    assert torch.equal(law.mean, law.sizes) and (law.variance == 0).all()
    assert (law.entropy() == 0).all() and (law.log_prob(law.mode) == 0).all()
    with pytest.raises(ValueError, match="SubsetSizes"):
        law.log_prob(torch.tensor([1.0, 3.0, 1.0]))
    assert law.log_mass(torch.tensor([1.0, 3.0, 1.0])).isneginf().all()


@pytest.mark.parametrize("options", [{}, {"gradient": "relaxed"}, {"hard": False}])
def test_no_noise_reaches_them(options: Any) -> None:
    sizes = torch.tensor([1.0, 3.0, 1.0], dtype=torch.float64, requires_grad=True)
    log_s = torch.zeros(N, dtype=torch.float64, requires_grad=True)
    d = DRPM(sizes=FixedSizes(sizes), log_s=log_s, temperature=3.0, **options)

    def reparametrised() -> Tensor:
        with poutine.reparam(config={"Y": DRPMReparam()}):
            return pyro.sample("Y", d)

    for draw in (lambda: d.rsample((50,)), lambda: d.sample((50,)), reparametrised):
        Y = draw()
        torch.testing.assert_close(Y.detach().sum(-1), sizes.detach().expand(Y.shape[:-1]))
    sites = poutine.trace(reparametrised).get_trace().nodes
    assert "Y_sizes" not in sites and "Y_ordering" in sites
    torch.testing.assert_close(d.noiseless.detach().sum(-1), sizes.detach())


@pytest.mark.parametrize("gradient", ["flow", "relaxed"])
def test_gradients_are_means_of_moves_up_and_down(gradient: Any) -> None:
    sizes = torch.tensor([2.0, 2.0, 1.0], dtype=torch.float64, requires_grad=True)
    log_s = torch.linspace(1000, -1000, N, dtype=torch.float64)
    Y = DRPM(sizes=FixedSizes(sizes), log_s=log_s, gradient=gradient).rsample()
    value = torch.randn(K, N, dtype=torch.float64)
    (grad,) = torch.autograd.grad((Y * value).sum(), sizes)
    labels = [0, 0, 1, 1, 2]
    expected = torch.zeros(K, dtype=torch.float64)
    for boundary, k in ((2, 0), (4, 1)):
        moves = [
            value[k, boundary] - value[k + 1, boundary],
            value[k, boundary - 1] - value[k + 1, boundary - 1],
        ]
        assert labels[boundary] == k + 1 and labels[boundary - 1] == k
        expected[: k + 1] += sum(moves) / 2
    torch.testing.assert_close(grad, expected)


def test_modes_of_another_law_with_gradients_of_its_means() -> None:
    w = parameter()
    law = MultivariateFisherHypergeometric(N, log_omega=w)
    fixed = FixedSizes.at_mode(law)
    assert torch.equal(fixed.sample(), law.mode)
    weight = torch.randn(K, dtype=torch.float64)
    (grad,) = torch.autograd.grad((fixed.rsample() * weight).sum(), w)
    (expected,) = torch.autograd.grad((law.mean * weight).sum(), w)
    torch.testing.assert_close(grad, expected)


@pytest.mark.parametrize("build", LAWS.values(), ids=LAWS)
def test_divergence(build: Any) -> None:
    p = build(parameter())
    q = FixedSizes(p.mode)
    torch.testing.assert_close(kl_divergence(q, p), -p.log_prob(p.mode))
    assert kl_divergence(q, q) == 0


def test_loss_has_no_bias() -> None:
    """The sizes are right or wrong by what the model says of them, and do not move."""
    torch.manual_seed(0)
    log_s = torch.zeros(DRAWS, N, dtype=torch.float64, requires_grad=True)
    p = DRPM(torch.ones(K).double(), log_s=torch.linspace(1, -1, N).double())
    fixed = FixedSizes(torch.tensor([2.0, 2.0, 1.0], dtype=torch.float64))

    def model() -> None:
        with pyro.plate("draws", DRAWS):
            pyro.sample("Y", p)

    def guide() -> None:
        with pyro.plate("draws", DRAWS):
            pyro.sample("Y", DRPM(sizes=fixed, log_s=log_s))

    loss = TracePartition_ELBO().differentiable_loss(model, guide)
    (estimate,) = torch.autograd.grad(loss, log_s)
    leaf = torch.zeros(N, dtype=torch.float64, requires_grad=True)
    q = DRPM(sizes=fixed, log_s=leaf)
    every = q.enumerate_support()
    every = every[q.log_prob(every).isfinite()]
    log_q = q.log_prob(every)
    exact_loss = (log_q.exp() * (log_q - p.log_prob(every))).sum()
    (exact,) = torch.autograd.grad(exact_loss, leaf)
    assert loss.item() / DRAWS == pytest.approx(exact_loss.item(), abs=0.02)
    error = estimate.std(0) / DRAWS**0.5
    assert ((estimate.mean(0) - exact).abs() <= 4.5 * error + 2e-3 * exact.abs().max()).all()


def test_flow_is_half_of_the_difference_between_moves_up_and_down() -> None:
    sizes = torch.tensor([2.0, 2.0, 1.0], dtype=torch.float64, requires_grad=True)
    changes = torch.randn(2, 3, K, dtype=torch.float64)
    law = FixedSizes(sizes)
    flow = law.flow(law.sample_counts(), changes, torch.zeros(()))
    (grad,) = torch.autograd.grad(flow, sizes)
    # Where one boundary moves alone, the subset before it and the one behind it change.
    of_boundaries = [
        (changes[0, 0, k] + changes[0, 1, k + 1] - changes[1, 0, k] - changes[1, 1, k + 1]) / 2
        for k in range(K - 1)
    ]
    expected = torch.stack([of_boundaries[0] + of_boundaries[1], of_boundaries[1], torch.zeros(())])
    assert flow == 0
    torch.testing.assert_close(grad, expected.double())


def test_counts_may_be_written_out() -> None:
    assert FixedSizes([2, 1, 3]).sample().tolist() == [2, 1, 3]
    omega, most, least = torch.ones(3), [2, 2, 4], [0, 1, 1]
    law = MultivariateFisherHypergeometric(6, omega, capacities=most, minimum=least)
    assert law.capacities.tolist() == most
    tensors = MultivariateFisherHypergeometric(
        6, omega, capacities=torch.tensor(most), minimum=torch.tensor(least)
    )
    every = tensors.enumerate_support()
    assert torch.equal(law.log_prob(every), tensors.log_prob(every))
    assert DRPM(torch.ones(2), torch.ones(4), capacities=[2, 2]).sample().sum(-1).tolist() == [2, 2]
