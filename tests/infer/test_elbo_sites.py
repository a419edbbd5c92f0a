# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Which sites ``TracePartition_ELBO`` weights, and how often it counts them."""

from collections.abc import Callable
from typing import Any, cast

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO, TraceMeanField_ELBO
from pyro.nn import PyroModule, PyroParam
from pyro.optim import PyroOptim
from torch import Tensor
from torch.distributions import constraints

from pyro_drpm import DRPM
from pyro_drpm.infer import TracePartition_ELBO

BOUNDS: list[Any] = ["lemma", "tight", "exact"]
GAMMA, DELTA = 0.7, 1.3
MASK: Any = torch.tensor([True, False, True])

every_bound = pytest.mark.parametrize("bound", BOUNDS)


def drpm(seed: int, batch: int = 3) -> DRPM:
    generator = torch.Generator().manual_seed(seed)
    log_omega, log_s = (
        torch.randn(batch, size, generator=generator, dtype=torch.float64) for size in (3, 4)
    )
    return DRPM(log_omega=log_omega, log_s=log_s)


Q, P = drpm(1), drpm(2)


def weighted(d: DRPM, Y: Tensor, bound: str, *, upper: bool, q: DRPM) -> Tensor:
    """A side's part of the loss, for each partition drawn from ``q``."""
    sizes, assignment = d.log_prob_parts(Y)
    orderings = torch.zeros(())
    if bound != "exact":
        orderings = torch.lgamma(Y.sum(-1) + 1).sum(-1) * upper
        assignment = d.log_prob_bounds(Y, cast(Any, bound))[int(upper)] - sizes - orderings
    counts = q.sizes.enumerate_support()
    mean = (q.sizes.log_prob(counts).exp() * d.sizes.log_prob(counts)).sum(0)
    return GAMMA * (mean + orderings) + DELTA * assignment


def loss_and_partition(bound: Any, model: Any, guide: Any) -> tuple[float, Tensor]:
    """The loss of one particle and what the guide drew in it."""
    guide_trace: Any = None

    def remembered() -> None:
        nonlocal guide_trace
        guide_trace = poutine.trace(guide).get_trace()

    loss = TracePartition_ELBO(bound, GAMMA, DELTA).loss(model, remembered)
    return loss, guide_trace.nodes["Y"]["value"]


def in_plate(fn: Callable[[DRPM], Any], *handlers: Any, size: int | None = None) -> Any:
    """A program that has a DRPM in a plate of three, wrapped and handled."""

    def program(d: DRPM) -> Any:
        def run() -> None:
            with pyro.plate("plate", size or 3, subsample_size=3):
                pyro.sample("Y", fn(d))

        for handler in handlers:
            run = handler(run)
        return run

    return program


def outside_of_plate(fn: Callable[[DRPM], Any]) -> Any:
    return lambda d: lambda: pyro.sample("Y", fn(d))


def plain(d: DRPM) -> DRPM:
    return d


PROGRAMS = {
    "plate": (in_plate(plain), torch.ones(3)),
    "to_event": (outside_of_plate(lambda d: d.to_event(1)), torch.ones(3)),
    "mask": (in_plate(lambda d: d.mask(MASK)), MASK),
    "mask of to_event": (outside_of_plate(lambda d: d.to_event(1).mask(True)), torch.ones(3)),
    "to_event of mask": (outside_of_plate(lambda d: d.mask(MASK).to_event(1)), MASK),
    "masked altogether": (in_plate(lambda d: d.mask(False)), torch.zeros(3)),
    "poutine.mask": (in_plate(plain, lambda run: poutine.mask(run, mask=MASK)), MASK),
    "poutine.scale": (
        in_plate(plain, lambda run: poutine.scale(run, scale=0.25)),
        torch.full((3,), 0.25),
    ),
    "scale and mask": (
        in_plate(
            lambda d: d.mask(torch.tensor([True, True, False])),
            lambda run: poutine.mask(run, mask=MASK),
            lambda run: poutine.scale(run, scale=0.25),
        ),
        torch.tensor([0.25, 0.0, 0.0]),
    ),
    "subsampled": (in_plate(plain, size=12), torch.full((3,), 4.0)),
}


@every_bound
@pytest.mark.parametrize("name", PROGRAMS)
def test_wrapped_and_handled_sites(bound: Any, name: str) -> None:
    program, times = PROGRAMS[name]
    loss, Y = loss_and_partition(bound, program(P), program(Q))
    terms = weighted(Q, Y, bound, upper=True, q=Q) - weighted(P, Y, bound, upper=False, q=Q)
    assert loss == pytest.approx((times * terms).sum().item(), rel=1e-10)


@every_bound
def test_model_and_guide_may_be_wrapped_differently(bound: Any) -> None:
    masked, scaled = PROGRAMS["mask"][0], PROGRAMS["poutine.scale"][0]
    loss, Y = loss_and_partition(bound, masked(P), scaled(Q))
    of_guide = weighted(Q, Y, bound, upper=True, q=Q)
    of_model = weighted(P, Y, bound, upper=False, q=Q)
    assert loss == pytest.approx((0.25 * of_guide - MASK * of_model).sum().item(), rel=1e-10)


@every_bound
def test_several_sites_and_other_ones(bound: Any) -> None:
    """Each DRPM site counts with its terms, all others as in ``TraceMeanField_ELBO``."""
    other_q, other_p = drpm(3), drpm(4)
    z_q, z_p = dist.Normal(0.3, 0.5), dist.Normal(0.0, 1.0)
    x = torch.tensor(0.7)

    def program(first: DRPM, second: DRPM, z: Any) -> tuple[Tensor, Tensor, Tensor]:
        with pyro.plate("plate", 3):
            Y = pyro.sample("Y", first)
        return Y, pyro.sample("other", second.to_event(1)), pyro.sample("z", z)

    drawn: Any = None

    def guide() -> None:
        nonlocal drawn
        drawn = program(Q, other_q, z_q)

    def model() -> None:
        _, _, z = program(P, other_p, z_p)
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    loss = TracePartition_ELBO(bound, GAMMA, DELTA).loss(model, guide)
    Y, other, z = drawn
    expected = (
        torch.distributions.kl_divergence(z_q, z_p)
        - dist.Normal(z, 1.0).log_prob(x)
        + weighted(Q, Y, bound, upper=True, q=Q).sum()
        - weighted(P, Y, bound, upper=False, q=Q).sum()
        + weighted(other_q, other, bound, upper=True, q=other_q).sum()
        - weighted(other_p, other, bound, upper=False, q=other_q).sum()
    )
    assert loss == pytest.approx(expected.item(), rel=1e-6)


def expected_loss(clusters: Any, bound: str) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over the guide's partitions, all enumerated."""
    Y, q = clusters.partitions, clusters.posterior()
    losses = (
        weighted(q, Y, bound, upper=True, q=q)
        - weighted(clusters.prior, Y, bound, upper=False, q=q)
        - clusters.likelihood(Y).log_prob(clusters.x)
    ).detach()
    mass = q.log_prob(Y).exp().detach()
    mean = (mass * losses).sum()
    return mean, (mass * (losses - mean) ** 2).sum().sqrt()


@every_bound
@pytest.mark.parametrize(("vectorized", "particles"), [(True, 5_000), (False, 100)])
def test_particles(clusters: Any, bound: Any, vectorized: bool, particles: int) -> None:
    elbo = TracePartition_ELBO(
        bound,
        GAMMA,
        DELTA,
        num_particles=particles,
        vectorize_particles=vectorized,
        max_plate_nesting=0,
    )
    mean, deviation = expected_loss(clusters, bound)
    error = abs(elbo.loss(clusters.model, clusters.guide) - mean)
    assert error < 4 * deviation / particles**0.5


class OwnMass(DRPM):
    """A subclass with a log-mass of its own, of which no differences are known."""

    def log_prob_parts(self, value: Tensor) -> tuple[Tensor, Tensor]:
        sizes, assignment = super().log_prob_parts(value)
        return sizes, assignment + (value[..., 0, 0] * self.log_s[..., 0])

    def log_prob(self, value: Tensor) -> Tensor:
        sizes, assignment = self.log_prob_parts(value)
        return sizes + assignment


@pytest.mark.parametrize("other", [Trace_ELBO, TraceMeanField_ELBO])
@pytest.mark.parametrize(("family", "hard"), [(DRPM, False), (OwnMass, True)])
def test_relaxed_partitions_and_other_masses_are_as_in_pyro(
    clusters: Any, other: Any, family: Any, hard: bool
) -> None:
    """With the same noise the same loss and the same gradients."""

    def model() -> None:
        Y = pyro.sample("Y", DRPM(clusters.omega, clusters.s, hard=hard))
        pyro.sample("x", clusters.likelihood(Y), obs=clusters.x)

    def guide() -> None:
        q = clusters.posterior()
        pyro.sample("Y", family(log_omega=q.log_omega, log_s=q.log_s, hard=hard))

    results = []
    for elbo in (TracePartition_ELBO(num_particles=3), other(num_particles=3)):
        pyro.clear_param_store()
        pyro.set_rng_seed(5)
        loss = elbo.loss_and_grads(model, guide)
        params = dict(pyro.get_param_store().named_parameters())
        assert set(params) == {"log_omega", "log_s"}
        results.append([torch.tensor(loss), *(params[name].grad for name in sorted(params))])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)
        assert ours.abs().sum() > 0


@every_bound
def test_weights_may_be_tensors(bound: Any) -> None:
    program = in_plate(plain)
    numbers, tensors = [
        TracePartition_ELBO(bound, *weights)
        for weights in ((GAMMA, DELTA), (torch.tensor(GAMMA), torch.tensor(DELTA)))
    ]
    losses = []
    for elbo in (numbers, tensors):
        pyro.set_rng_seed(0)
        losses.append(elbo.loss(program(P), program(Q)))
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def recorded(steps: list[int]) -> Callable[[int], float]:
    """A weight that is the step."""

    def weight(step: int) -> float:
        steps.append(step)
        return float(step)

    return weight


def test_weights_follow_the_step(clusters: Any) -> None:
    gammas: list[int] = []
    deltas: list[int] = []
    elbo = TracePartition_ELBO("exact", recorded(gammas), recorded(deltas))
    svi = SVI(clusters.model, clusters.guide, PyroOptim(torch.optim.Adam, {"lr": 0.01}), elbo)
    for _ in range(3):
        svi.step()
        svi.evaluate_loss()  # is no step
    elbo.differentiable_loss(clusters.model, clusters.guide)
    assert gammas == deltas == [0, 1, 1, 2, 2, 3, 3]
    assert elbo.step == 4
    # All weight is still zero at step 0: the likelihood remains.
    elbo.step = 0
    pyro.set_rng_seed(0)
    loss = elbo.loss(clusters.model, clusters.guide)
    pyro.set_rng_seed(0)
    Y = clusters.posterior().rsample()
    assert loss == pytest.approx(-clusters.likelihood(Y).log_prob(clusters.x).item())


def test_particles_share_a_step(clusters: Any) -> None:
    steps: list[int] = []
    elbo = TracePartition_ELBO(gamma=recorded(steps), num_particles=3)
    elbo.loss_and_grads(clusters.model, clusters.guide)
    elbo.loss_and_grads(clusters.model, clusters.guide)
    assert steps == [0, 0, 0, 1, 1, 1]


@every_bound
def test_as_a_module(clusters: Any, bound: Any) -> None:
    class Model(PyroModule):
        def __init__(self) -> None:
            super().__init__()
            self.log_omega: Any = PyroParam(clusters.omega.log().clone())

        def forward(self) -> None:
            Y = pyro.sample("Y", DRPM(log_omega=self.log_omega, s=clusters.s))
            pyro.sample("x", clusters.likelihood(Y), obs=clusters.x)

    class Guide(PyroModule):
        def __init__(self) -> None:
            super().__init__()
            linear: Any = PyroModule[torch.nn.Linear]
            self.omega: Any = PyroParam(torch.ones(2).double(), constraints.positive)
            self.scores = linear(1, 4, bias=False).double()

        def forward(self) -> None:
            log_s = self.scores(torch.ones(1).double())
            pyro.sample("Y", DRPM(log_omega=self.omega.log(), log_s=log_s))

    with pyro.settings.context(module_local_params=True):
        elbo = TracePartition_ELBO(
            bound, num_particles=10, vectorize_particles=True, max_plate_nesting=0
        )
        loss_of = elbo(Model(), Guide())
        params = dict(loss_of.named_parameters())
        assert len(params) == 3
        optimizer = torch.optim.Adam(params.values(), lr=0.05)
        losses = []
        for _ in range(60):
            optimizer.zero_grad()
            loss = loss_of()
            loss.backward()
            assert all(param.grad is not None for param in params.values())
            optimizer.step()
            losses.append(loss.item())
    assert elbo.step == 60
    assert sum(losses[-10:]) < sum(losses[:10]) - 10
    assert not pyro.get_param_store()


@every_bound
def test_observed_partition(bound: Any) -> None:
    """Its log-mass is exact and not weighted: it is data."""
    Y = P.sample()

    def model() -> None:
        z = pyro.sample("z", dist.Normal(0.0, 1.0).expand([3]).to_event(1))
        with pyro.plate("plate", 3):
            pyro.sample("Y", DRPM(log_omega=z.double(), log_s=P.log_s), obs=Y)

    def guide() -> None:
        pyro.sample("z", dist.Delta(torch.tensor([0.5, 0.0, -0.5])).to_event(1))

    z = torch.tensor([0.5, 0.0, -0.5]).double()
    expected = -DRPM(log_omega=z, log_s=P.log_s).log_prob(Y).sum()
    expected = expected - dist.Normal(0.0, 1.0).log_prob(z).sum()
    loss = TracePartition_ELBO(bound, GAMMA, DELTA).loss(model, guide)
    assert loss == pytest.approx(expected.item(), rel=1e-5)


def expected_log_prob(Y: Tensor) -> Tensor:
    """The exact log-mass of what the guide drew, with the mean over the sizes."""
    return (Q.log_prob_parts(Y)[1] - Q.sizes.entropy()).sum()


@every_bound
def test_counterpart_of_another_family(bound: Any) -> None:
    """No bound applies, the log-mass is exact and not weighted."""
    bits = dist.Bernoulli(torch.tensor(0.2).double()).expand([3, 3, 4]).to_event(2)

    def other() -> None:
        with pyro.plate("plate", 3):
            pyro.sample("Y", bits)

    loss, Y = loss_and_partition(bound, other, in_plate(plain)(Q))
    expected = expected_log_prob(Y) - bits.log_prob(Y).sum()
    assert loss == pytest.approx(expected.item(), rel=1e-10)

    fixed = Q.sample()

    def guide() -> None:
        with pyro.plate("plate", 3):
            pyro.sample("Y", dist.Delta(fixed, event_dim=2))

    loss, _ = loss_and_partition(bound, in_plate(plain)(P), guide)
    assert loss == pytest.approx(-P.log_prob(fixed).sum().item(), rel=1e-10)


@every_bound
def test_auxiliary_site(bound: Any) -> None:
    drawn: Any = None

    def guide() -> None:
        nonlocal drawn
        drawn = pyro.sample("aux", Q.to_event(1), infer={"is_auxiliary": True})

    loss = TracePartition_ELBO(bound, GAMMA, DELTA).loss(lambda: None, guide)
    assert loss == pytest.approx(expected_log_prob(drawn).item(), rel=1e-10)


def test_refuses_sites_without_pathwise_gradients(clusters: Any) -> None:
    def guide() -> None:
        pyro.sample("Y", clusters.posterior().has_rsample_(False))

    with pytest.raises(NotImplementedError, match="rloo"):
        TracePartition_ELBO().loss(clusters.model, guide)
