# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Partitions with a score for every subset and element."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pyro
import pytest
import torch
from pyro.infer import SVI
from pyro.optim import PyroOptim
from torch import Tensor

from pyro_drpm import DRPM
from pyro_drpm.distributions import FixedSizes, MultinomialSizes
from pyro_drpm.infer import TracePartition_ELBO
from tests.distributions.size_laws import (
    DRAWS,
    LAWS,
    K,
    N,
    check_frequencies,
    parameter,
    quadratic,
)

PLACE = K ** torch.arange(N - 1, -1, -1)


def scores(scale: float = 1.0, *batch: int) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return scale * torch.randn(*batch, K, N, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("build", LAWS.values(), ids=LAWS)
def test_law_of_draws_with_any_sizes(build: Any) -> None:
    pyro.set_rng_seed(0)
    partition = DRPM(sizes=build(parameter()), log_subset_s=scores())
    every = partition.enumerate_support()
    prob = partition.log_prob(every).exp()
    assert prob.sum().item() == pytest.approx(1, abs=1e-12)
    found = (partition.sample((DRAWS,)).argmax(-2) @ PLACE).bincount(minlength=K**N)
    check_frequencies(found, prob)
    torch.testing.assert_close(
        partition.log_prob(every).exp() @ every.sum(-1), partition.sizes.mean
    )


def test_equal_rows_are_one_score_per_element() -> None:
    sizes, log_s = MultinomialSizes(N, torch.ones(K).double()), scores()[0]
    one = DRPM(sizes=sizes, log_s=log_s)
    rows = DRPM(sizes=sizes, log_subset_s=log_s.expand(K, N))
    every = one.enumerate_support()
    torch.testing.assert_close(rows.log_prob(every), one.log_prob(every), rtol=1e-13, atol=1e-13)
    for part, other in zip(
        rows.lower_bound_parts(every) + rows.upper_bound_parts(every, "tight"),
        one.lower_bound_parts(every) + one.upper_bound_parts(every, "tight"),
        strict=True,
    ):
        torch.testing.assert_close(part, other)


def test_bounds_hold() -> None:
    partition = DRPM(torch.ones(K).double(), log_subset_s=scores(3.0))
    every = partition.enumerate_support()
    lower, upper = partition.log_prob_bounds(every, "tight")
    exact = partition.log_prob(every)
    assert (lower <= exact + 1e-12).all() and (exact <= upper + 1e-12).all()
    with pytest.raises(NotImplementedError, match="one score per element"):
        partition.log_prob_bounds(every)


def test_batches_copies_and_shapes() -> None:
    log_s = scores(1.0, 2)
    partition = DRPM(torch.ones(3, 1, K).double(), log_subset_s=log_s)
    assert partition.batch_shape == (3, 2) and partition.event_shape == (K, N)
    assert partition.log_subset_s.shape == (3, 2, K, N) and not partition.has_rsample
    torch.testing.assert_close(partition.subset_s[0], log_s.exp())
    assert "log_subset_s: torch.Size([3, 2, 3, 5])" in repr(partition)
    with pytest.raises(AttributeError, match="no ordering with a score for every subset"):
        _ = partition.log_s
    one = DRPM(torch.ones(K), log_s=torch.arange(5.0))
    assert torch.equal(one.log_subset_s, torch.arange(5.0).expand(K, N))
    Y = partition.sample((4,))
    assert partition.support.check(Y).all()
    log_prob = partition.log_prob(Y)
    for b in range(2):
        single = DRPM(torch.ones(K).double(), log_subset_s=log_s[b])
        torch.testing.assert_close(single.log_prob(Y[:, :, b]), log_prob[:, :, b])
    for twin in (copy.deepcopy(partition), pickle.loads(pickle.dumps(partition))):
        torch.testing.assert_close(twin.log_prob(Y), log_prob)
    wide = partition.expand([5, 3, 2])
    assert wide.sample().shape == (5, 3, 2, K, N) and not wide.has_rsample
    assert (wide.sample().flatten(0, 2).unique(dim=0).shape[0]) > 5


@pytest.mark.parametrize("build", LAWS.values(), ids=LAWS)
def test_mean_and_mode(build: Any) -> None:
    pyro.set_rng_seed(0)
    leaves = parameter(), scores().requires_grad_()
    partition = DRPM(sizes=build(leaves[0]), log_subset_s=leaves[1])
    error = 4 / DRAWS**0.5
    mean = partition.mean
    assert (partition.sample((DRAWS,)).mean(0) - mean).abs().max() < error / 2
    every = partition.enumerate_support()
    best = partition.log_prob(every).max()
    torch.testing.assert_close(partition.log_prob(partition.mode), best)
    weight = torch.randn(K, N, dtype=torch.float64)
    for grad in torch.autograd.grad((weight * mean).sum(), leaves):
        assert grad.isfinite().all() and grad.abs().max() > 1e-4
    # Equal rows have another algorithm for both.
    log_s = scores()[0].requires_grad_()
    one = DRPM(sizes=build(leaves[0]), log_s=log_s)
    rows = DRPM(sizes=build(leaves[0]), log_subset_s=log_s.expand(K, N))
    torch.testing.assert_close(rows.mean, one.mean, rtol=1e-10, atol=1e-12)
    assert torch.equal(rows.mode, one.mode)
    (a,), (b,) = (torch.autograd.grad((weight * d.mean).sum(), log_s) for d in (rows, one))
    torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)


def test_shapes_are_inferred() -> None:
    shapes = {"omega": (3, 1, 4), "subset_s": (2, 4, 5)}
    as_sizes = {name: torch.Size(shape) for name, shape in shapes.items()}
    assert DRPM.infer_shapes(**as_sizes) == (torch.Size((3, 2)), torch.Size((4, 5)))


def clusters(log_w: Tensor) -> tuple[Any, Tensor, Tensor]:
    """A mixture with known sizes, and its posterior by enumeration."""
    prior = DRPM(sizes=FixedSizes(torch.tensor([2, 2, 1]).double()), log_s=torch.zeros(N).double())
    every = prior.enumerate_support()
    every = every[(every.sum(-1) == torch.tensor([2, 2, 1])).all(-1)]
    log_joint = prior.log_prob(every) + (every * log_w).sum((-2, -1))

    def model() -> None:
        Y = pyro.sample("Y", prior)
        pyro.factor("x", (Y * log_w).sum((-2, -1)))

    return model, every, log_joint


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_affinities_are_close_to_the_posterior_of_a_mixture(scale: float) -> None:
    log_w = scores(scale)
    _, every, log_joint = clusters(log_w)
    sizes = FixedSizes(torch.tensor([2, 2, 1]).double())
    start = DRPM(sizes=sizes, log_subset_s=torch.zeros(K, N).double())
    log_posterior = log_joint.log_softmax(0)

    def divergence(q: DRPM) -> float:
        log_q = q.log_prob(every)
        return (log_q.exp() * (log_q - log_posterior)).sum().item()

    assert divergence(DRPM.from_affinities(log_w, sizes)) < 0.1 * divergence(start)


def test_training_reaches_the_evidence() -> None:
    model, _, log_joint = clusters(2 * scores())
    sizes = FixedSizes(torch.tensor([2, 2, 1]).double())
    pyro.clear_param_store()
    pyro.set_rng_seed(0)

    def guide() -> DRPM:
        log_s = pyro.param("log_s", torch.zeros(K, N).double())
        partition = DRPM(sizes=sizes, log_subset_s=log_s)
        pyro.sample("Y", partition)
        return partition

    elbo = TracePartition_ELBO(
        estimator="rloo", num_particles=8, vectorize_particles=True, max_plate_nesting=0
    )
    svi = SVI(model, guide, PyroOptim(torch.optim.Adam, {"lr": 0.1}), elbo)
    losses = [svi.step() for _ in range(300)]
    evidence = -log_joint.logsumexp(0).item()
    assert evidence - 0.02 < sum(losses[-50:]) / 50 < evidence + 0.1 < sum(losses[:20]) / 20
    with pytest.raises(NotImplementedError, match="rloo"):
        TracePartition_ELBO().differentiable_loss(model, guide)
    pyro.clear_param_store()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"log_s": torch.zeros(4), "log_subset_s": torch.zeros(2, 4)}, "either scores s or"),
        ({"log_subset_s": torch.zeros(4)}, r"shape \(\*batch, K, n\), but got \(4,\)"),
        ({"log_subset_s": torch.zeros(3, 4)}, "each of 2 subsets, but got 3"),
        ({"subset_s": torch.zeros(2, 4)}, "subset_s to be positive and finite, but got 0.0"),
    ],
)
def test_what_is_wrong_is_said(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DRPM(torch.ones(2), **arguments)


FLOWS = {name: build for name, build in LAWS.items() if name != "own"}
FLOWS["fixed"] = lambda w: FixedSizes(torch.tensor([2, 2, 1]).double())
FLOWS["empty"] = lambda w: FixedSizes(torch.tensor([0, 4, 1]).double())


def of_batch(sizes: Any, log_s: Tensor, f: Any) -> Tensor:
    """Gradients of many draws of one batch, shape ``(DRAWS, K, n)``."""
    rows = log_s.detach().expand(DRAWS, -1, -1).clone().requires_grad_()
    Y = DRPM(sizes=sizes, log_subset_s=rows).rsample()
    assert torch.equal(Y, Y.round()) and (Y.sum(-2) == 1).all()
    (each,) = torch.autograd.grad(f(Y.flatten(1)).sum(), rows)
    return each


def under_vmap(sizes: Any, log_s: Tensor, f: Any) -> Tensor:
    """The same, by torch's transforms."""

    def value(log_s: Tensor) -> Tensor:
        partition = DRPM(sizes=sizes, log_subset_s=log_s, validate_args=False)
        result: Tensor = f(partition.rsample().flatten())
        return result

    each = torch.func.vmap(torch.func.grad(value), randomness="different")
    return each(log_s.detach().expand(DRAWS, -1, -1))


def check_gradient_of_draws(sizes: Any, log_s: Tensor, gradients: Any = of_batch) -> None:
    """For a quadratic function, against the derivative of the enumerated mean."""
    f = quadratic(log_s.numel())
    log_s = log_s.clone().requires_grad_()
    partition = DRPM(sizes=sizes, log_subset_s=log_s)
    every = partition.enumerate_support()
    every = every[partition.log_prob(every) > -torch.inf]
    mean = (partition.log_prob(every).exp() * f(every.flatten(1))).sum()
    (exact,) = torch.autograd.grad(mean, log_s)
    each = gradients(sizes, log_s, f)
    error = each.std(0) / DRAWS**0.5
    # What no draw has seen is rare.
    assert ((each.mean(0) - exact).abs() <= 4.5 * error + 2e-3).all()


@pytest.mark.parametrize("build", FLOWS.values(), ids=FLOWS)
@pytest.mark.parametrize("scale", [0.3, 1.5, 5.0])
def test_gradients_of_draws_have_no_bias_for_quadratics(build: Any, scale: float) -> None:
    pyro.set_rng_seed(0)
    check_gradient_of_draws(build(parameter().detach()), scores(scale))


@pytest.mark.parametrize("sizes", [[1, 2, 1, 2], [2, 1, 0, 3], [1, 1, 1, 1, 1]])
def test_gradients_of_draws_through_several_stages(sizes: list[int]) -> None:
    pyro.set_rng_seed(0)
    log_s = torch.randn(len(sizes), sum(sizes), dtype=torch.float64)
    check_gradient_of_draws(FixedSizes(torch.tensor(sizes).double()), log_s)


def test_draws_with_equal_rows_have_other_gradients_than_orderings() -> None:
    """The law is the same, the noise is not: each stage has its own."""
    pyro.set_rng_seed(0)
    log_s = scores()[0].requires_grad_()
    sizes, f = FixedSizes(torch.tensor([2, 2, 1]).double()), quadratic(K * N)
    for partition in (
        DRPM(sizes=sizes, log_s=log_s),
        DRPM(sizes=sizes, log_subset_s=log_s.expand(K, N)),
    ):
        Y = partition.rsample((DRAWS,))
        (found,) = torch.autograd.grad(f(Y.flatten(1)).mean(), log_s)
        every = partition.enumerate_support()
        some = partition.log_prob(every) > -torch.inf
        mean = (partition.log_prob(every[some]).exp() * f(every[some].flatten(1))).sum()
        (exact,) = torch.autograd.grad(mean, log_s)
        torch.testing.assert_close(found, exact, atol=0.05, rtol=0.1)


def test_gradients_of_draws_under_vmap() -> None:
    pyro.set_rng_seed(0)
    sizes = FixedSizes(torch.tensor([2, 2, 1]).double())
    check_gradient_of_draws(sizes, scores(), under_vmap)


@pytest.mark.parametrize("options", [{"hard": False}, {"gradient": "relaxed"}])
def test_draws_without_gradients_say_so(options: dict[str, Any]) -> None:
    partition = DRPM(torch.ones(2), **options, log_subset_s=torch.zeros(2, 4))
    with pytest.raises(NotImplementedError, match="no relaxation"):
        partition.rsample()
    with pytest.raises(NotImplementedError, match="no relaxation"):
        _ = partition.noiseless
    assert partition.sample().shape == (2, 4)
    learned = DRPM(torch.ones(2).requires_grad_(), log_subset_s=torch.zeros(2, 4))
    with pytest.raises(NotImplementedError, match="no gradient for the sizes"):
        learned.rsample()
    assert learned.sample().shape == (2, 4)
