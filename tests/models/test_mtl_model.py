# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""DRPM-MTL and its baseline against their formulas."""

from __future__ import annotations

import math

import pyro
import pytest
import torch
import torch.nn.functional as F
from pyro import poutine
from pyro.infer import Predictive, Trace_ELBO
from torch import Tensor, nn

from models.mtl.model import TaskGuide, TaskModel, size_penalty
from models.mtl.networks import Head, LeNetEncoder, ResNetEncoder
from models.mtl.shares import AllNeurons, Partition, PartitionKind, Shares

B, T, N, C = 6, 3, 8, 4
KINDS: tuple[PartitionKind, ...] = ("noiseless", "relaxed", "sample")
pytestmark = pytest.mark.usefixtures("seeded")


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    return torch.randn(B, 5), torch.randint(C, (B, T))


def make_partition(kind: PartitionKind) -> Partition:
    return Partition(nn.Linear(5, 7), 7, T, N, kind)


def make_model(shares: Shares, size_weight: float = 0.0) -> TaskModel:
    heads = [nn.Sequential(nn.Linear(N, C), nn.LogSoftmax(-1)) for _ in range(T)]
    return TaskModel(nn.Linear(5, N), heads, shares, size_weight)


def loss(model: TaskModel, batch: tuple[Tensor, Tensor]) -> Tensor:
    return Trace_ELBO()(model, TaskGuide(model.shares))(*batch)


@pytest.mark.parametrize("kind", ["noiseless", "sample"])
def test_shares_are_a_partition_of_the_neurons(
    kind: PartitionKind, batch: tuple[Tensor, Tensor]
) -> None:
    shares = make_partition(kind)(batch[0])
    assert shares.shape == (B, T, N)
    assert shares.unique().tolist() == [0.0, 1.0]
    assert (shares.sum(1) == 1).all()


def test_relaxed_shares_spend_every_neuron_once_in_total(batch: tuple[Tensor, Tensor]) -> None:
    shares = make_partition("relaxed")(batch[0])
    assert ((shares > 0) & (shares < 1)).any()
    torch.testing.assert_close(shares.sum((1, 2)), torch.full((B,), float(N)))


def test_mode_is_the_same_for_every_kind_and_follows_the_scores(
    batch: tuple[Tensor, Tensor],
) -> None:
    partition = make_partition("noiseless")
    shares = partition(batch[0])
    law = partition.distribution(batch[0])
    order = law.log_s.argsort(-1, descending=True)
    subset = shares.argmax(1).gather(-1, order)
    assert (subset.diff(dim=-1) >= 0).all()
    partition.kind = "sample"
    torch.testing.assert_close(partition.noiseless(batch[0]), shares)


def test_every_task_of_uls_reads_all_neurons(batch: tuple[Tensor, Tensor]) -> None:
    assert torch.equal(AllNeurons(T, N)(batch[0]), torch.ones(B, T, N))


@pytest.mark.parametrize("kind", [*KINDS, None])
@pytest.mark.parametrize("size_weight", [0.0, 0.7])
def test_loss_is_the_mean_cross_entropy_of_the_tasks(
    kind: PartitionKind | None, size_weight: float, batch: tuple[Tensor, Tensor]
) -> None:
    images, labels = batch
    shares = AllNeurons(T, N) if kind is None else make_partition(kind)
    model = make_model(shares, size_weight)
    pyro.set_rng_seed(1)
    received = loss(model, batch)
    pyro.set_rng_seed(1)
    masks = shares(images)
    expected = torch.zeros(())
    for i in range(B):
        for t in range(T):
            log_probs = model.heads[t](model.encoder(images[i]) * masks[i, t])
            expected = expected - log_probs[labels[i, t]] / T
            expected = expected + size_weight * torch.lgamma(masks[i, t].sum() + 1)
    torch.testing.assert_close(received, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_both_encoders_and_all_heads(
    kind: PartitionKind, batch: tuple[Tensor, Tensor]
) -> None:
    model = make_model(make_partition(kind))
    loss(model, batch).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name


def test_the_temperature_acts_on_the_gradient_alone(batch: tuple[Tensor, Tensor]) -> None:
    partition = make_partition("noiseless")
    gradients = []
    for temperature in (0.5, 1.0):
        partition.temperature = temperature
        shares = partition(batch[0])
        (gradient,) = torch.autograd.grad(shares[:, 0, :3].sum(), partition.log_s.weight)
        gradients.append((shares, gradient))
    assert torch.equal(gradients[0][0], gradients[1][0])
    assert not torch.allclose(gradients[0][1], gradients[1][1])


def test_a_drawn_partition_is_a_latent_variable_without_a_cost(
    batch: tuple[Tensor, Tensor],
) -> None:
    model = make_model(make_partition("sample"))
    trace = poutine.trace(model).get_trace(*batch)
    assert not trace.nodes["Y"]["is_observed"]
    assert poutine.trace(TaskGuide(model.shares)).get_trace(*batch).stochastic_nodes == [
        "images",
        "Y",
    ]
    trace.compute_log_prob()
    assert not trace.nodes["Y"]["log_prob"].any()


def test_a_partition_without_noise_can_be_predicted_like_any_site(
    batch: tuple[Tensor, Tensor],
) -> None:
    model = make_model(make_partition("noiseless"))
    guide = TaskGuide(model.shares)
    predicted = Predictive(model, guide=guide, num_samples=2, return_sites=["Y"])(*batch)["Y"]
    torch.testing.assert_close(predicted[0], model.shares.noiseless(batch[0]))


def test_size_penalty_is_the_log_number_of_orders() -> None:
    shares = F.one_hot(torch.tensor([0, 0, 0, 2, 2]), 3).mT.double()
    expected = math.log(math.factorial(3) * math.factorial(0) * math.factorial(2))
    assert size_penalty(shares).item() == pytest.approx(expected, abs=1e-12)


def test_gradient_of_the_size_penalty_is_the_digamma_of_the_sizes() -> None:
    shares = torch.rand(2, 3, 5, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(size_penalty(shares).sum(), shares)
    digamma = torch.digamma(shares.detach().sum(-1, keepdim=True) + 1)
    torch.testing.assert_close(gradient, digamma.expand_as(shares))
    assert torch.autograd.gradcheck(size_penalty, shares)


def test_the_size_penalty_makes_sizes_more_equal() -> None:
    log_omega = torch.tensor([2.0, 0.0], requires_grad=True)
    partition = Partition(nn.Identity(), 2, 2, 20)
    with torch.no_grad():
        partition.log_omega.weight.copy_(torch.eye(2))
        partition.log_omega.bias.zero_()
    shares = partition(log_omega.unsqueeze(0))
    assert shares.sum(-1)[0, 0] > shares.sum(-1)[0, 1]
    (gradient,) = torch.autograd.grad(size_penalty(shares).sum(), log_omega)
    assert gradient[0] > 0 > gradient[1]  # a step downhill lowers the larger weight


# Networks


def test_lenet_has_the_layers_of_the_protocol() -> None:
    encoder = LeNetEncoder(50)
    assert encoder(torch.randn(3, 1, 28, 28)).shape == (3, 50)
    shapes = [tuple(p.shape) for p in encoder.parameters() if p.dim() > 1]
    assert shapes == [(10, 1, 5, 5), (20, 10, 5, 5), (50, 320)]


def test_lenet_drops_whole_channels_of_the_batch_and_rescales_nothing() -> None:
    encoder = LeNetEncoder(50)
    seen: list[Tensor] = []
    encoder.linear.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    images = torch.randn(4, 1, 28, 28)
    encoder.eval()(images)
    encoder.train()(images)
    full, masked = (features.unflatten(1, (20, 4, 4)) for features in seen)
    kept = masked.flatten(2).any(-1)
    assert 0 < kept.any(0).sum() < 20
    for channel in range(20):
        alternatives = (full[:, channel], torch.zeros_like(full[:, channel]))
        assert any(torch.equal(masked[:, channel], other) for other in alternatives)


def test_heads_drop_entries_and_rescale_nothing() -> None:
    head, features = Head(200, 3), torch.randn(50, 200)
    with torch.no_grad():
        head.hidden.weight.zero_()
        head.hidden.bias.fill_(1.0)
        head.output.weight.fill_(1.0)
        head.output.bias.copy_(torch.tensor([0.0, 1.0, 2.0]))
    assert torch.allclose(head(features).exp().sum(-1), torch.ones(50))
    logits: list[Tensor] = []
    head.output.register_forward_hook(lambda module, inputs, output: logits.append(output))
    head.eval()(features)
    head.train()(features)
    assert (logits[0][:, 0] == 200).all()
    kept = logits[1][:, 0]  # binomial, 200 entries of chance 1/2: a deviation of 7.1
    assert kept.unique().numel() > 1
    assert (kept - 100).abs().max() < 40 and (kept.mean() - 100).abs() < 5


def test_resnet_has_the_layers_of_the_protocol() -> None:
    encoder = ResNetEncoder(64).eval()
    assert encoder(torch.randn(2, 3, 64, 64)).shape == (2, 64)
    convolutions = [m for m in encoder.modules() if isinstance(m, nn.Conv2d)]
    weighted = [m for m in convolutions if m.kernel_size == (3, 3)]
    assert len(weighted) == 17  # with the linear layer, 18
    assert [m.out_channels for m in weighted] == [64] * 5 + [128] * 4 + [256] * 4 + [512] * 4
    assert sum(m.stride == (2, 2) for m in weighted) == 3
