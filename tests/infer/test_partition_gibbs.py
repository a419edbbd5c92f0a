# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Posteriors of models with latent partitions, sampled, against enumeration and quadrature."""

import functools
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import HMC, MCMC, NUTS
from pyro.infer.mcmc.rwkernel import RandomWalkKernel
from torch import Tensor

from pyro_drpm import DRPM
from pyro_drpm.distributions import FixedSizes
from pyro_drpm.infer import PartitionGibbs

X = torch.tensor([-1.2, 0.8, 1.1, -0.3], dtype=torch.float64)
S = torch.tensor([1.0, 2.0, 1.0, 0.5], dtype=torch.float64)
LOCATIONS = torch.tensor([-1.0, 1.0], dtype=torch.float64)
NORMAL = dist.Normal(torch.zeros((), dtype=torch.float64), 1.0)
OF_LOC = dist.Normal(0.8 + NORMAL.loc, 0.5)
ALL = torch.tensor(np.indices((2, 2, 2, 2)).reshape(4, -1).T)
PARTITIONS = torch.nn.functional.one_hot(ALL, 2).mT.double()


def run(
    model: Any, num_samples: int, warmup_steps: int = 20, *, seed: int = 0, **options: Any
) -> MCMC:
    pyro.set_rng_seed(seed)
    kernel = PartitionGibbs(model, **options)
    mcmc = MCMC(kernel, num_samples, warmup_steps=warmup_steps, disable_progbar=True)
    mcmc.run()
    return mcmc


def shares(Y: Tensor) -> Tensor:
    """How often each of the 16 partitions was drawn."""
    codes = Y[..., 1, :] @ torch.tensor([8, 4, 2, 1], dtype=Y.dtype)
    return torch.bincount(codes.flatten().long(), minlength=16) / codes.numel()


def distance(Y: Tensor, log_joint: Tensor) -> tuple[Tensor, Tensor]:
    """Total variation to a posterior, and its mean for as many independent draws."""
    prob = log_joint.softmax(0)
    independent = dist.Multinomial(len(Y), prob).sample((50,)) / len(Y)
    return (shares(Y) - prob).abs().sum() / 2, (independent - prob).abs().sum(-1).mean() / 2


def elementwise() -> None:
    Y = pyro.sample("Y", DRPM(torch.tensor([1.0, 1.5]).double(), S))
    with pyro.plate("data", 4):
        pyro.sample("x", dist.Normal(LOCATIONS @ Y, 0.7), obs=X)


def by_index() -> None:
    """Without a gradient that would show what depends on what."""
    Y = pyro.sample("Y", DRPM(torch.tensor([1.0, 1.5]).double(), S))
    with pyro.plate("data", 4):
        pyro.sample("x", dist.Normal(LOCATIONS[Y.argmax(-2)], 0.7), obs=X)


def as_one_event() -> None:
    """The same likelihood with a single log-probability."""
    Y = pyro.sample("Y", DRPM(torch.tensor([1.0, 1.5]).double(), S))
    pyro.sample("x", dist.Normal(LOCATIONS @ Y, 0.7).to_event(1), obs=X)


@pytest.mark.statistical
@pytest.mark.parametrize("model", [elementwise, by_index, as_one_event])
def test_posterior_by_enumeration(model: Callable[[], None]) -> None:
    prior = DRPM(torch.tensor([1.0, 1.5]).double(), S)
    likelihood = dist.Normal(LOCATIONS @ PARTITIONS, 0.7).log_prob(X).sum(-1)
    far, independent = distance(
        run(model, 600).get_samples()["Y"], prior.log_prob(PARTITIONS) + likelihood
    )
    assert far < 2 * independent


@pytest.mark.statistical
def test_terms_of_pairs_by_enumeration() -> None:
    """As in a graph: an edge is more probable within subsets."""
    edges = torch.tensor([[0, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 1], [0, 0, 1, 0]]).double()

    def likelihood(Y: Tensor) -> Any:
        return dist.Bernoulli(0.3 + 0.3 * (Y.mT @ Y))

    def model() -> None:
        Y = pyro.sample("Y", DRPM(torch.tensor([1.0, 1.5]).double(), S))
        with pyro.plate("columns", 4, dim=-1), pyro.plate("rows", 4, dim=-2):
            pyro.sample("x", likelihood(Y), obs=edges)

    log_joint = DRPM(torch.tensor([1.0, 1.5]).double(), S).log_prob(PARTITIONS)
    log_joint = log_joint + likelihood(PARTITIONS).log_prob(edges).sum((-1, -2))
    far, independent = distance(run(model, 600).get_samples()["Y"], log_joint)
    assert far < 2 * independent


@pytest.mark.statistical
def test_a_term_that_only_looks_elementwise() -> None:
    """It is elementwise but at one partition of 16; the sampler notices when it gets there."""
    special = PARTITIONS[6]

    def extra(Y: Tensor) -> Tensor:
        return 1.5 * (special == Y).all(-1).all(-1).double()

    def model() -> None:
        Y = pyro.sample("Y", DRPM(torch.tensor([1.0, 1.5]).double(), S))
        with pyro.plate("data", 4):
            pyro.factor("term", 0.5 * Y[..., 0, :] + extra(Y) / 4)

    log_joint = DRPM(torch.tensor([1.0, 1.5]).double(), S).log_prob(PARTITIONS)
    log_joint = log_joint + 0.5 * PARTITIONS[:, 0].sum(-1) + extra(PARTITIONS)
    far, independent = distance(run(model, 600).get_samples()["Y"], log_joint)
    assert far < 2 * independent


def mixed() -> None:
    """Sizes, scores and the likelihood depend on continuous latent variables."""
    odds, slope = pyro.sample("odds", NORMAL), pyro.sample("slope", NORMAL)
    loc = pyro.sample("loc", OF_LOC)
    log_omega = torch.stack([odds, torch.zeros_like(odds)], -1)
    Y = pyro.sample("Y", DRPM(log_omega=log_omega, log_s=slope * S))
    with pyro.plate("data", 4):
        pyro.sample("x", dist.Normal(torch.stack([-loc, loc]) @ Y, 0.8), obs=X)


@pytest.mark.statistical
def test_mixed_posterior_by_quadrature() -> None:
    axis = torch.linspace(-4, 4, 33, dtype=torch.float64)
    odds, slope, loc = torch.meshgrid(axis, axis, axis, indexing="ij")
    log_omega = torch.stack([odds, torch.zeros_like(odds)], -1)[:, :, 0]
    prior = DRPM(log_omega=log_omega, log_s=slope[:, :, 0, None] * S)
    log_prior = prior.log_prob(PARTITIONS[:, None, None])  # (16, odds, slope)
    means = torch.stack([-axis, axis], -1) @ PARTITIONS  # (16, loc, n)
    log_likelihood = dist.Normal(means, 0.8).log_prob(X).sum(-1)
    log_joint = log_prior[..., None] + log_likelihood[:, None, None]
    log_joint = log_joint + NORMAL.log_prob(odds) + NORMAL.log_prob(slope) + OF_LOC.log_prob(loc)
    joint = log_joint.flatten().softmax(0).reshape(log_joint.shape)
    mcmc = run(mixed, 300, 50, kernel=functools.partial(NUTS, max_tree_depth=3))
    draws = mcmc.get_samples()
    assert (shares(draws["Y"]) - joint.sum((1, 2, 3))).abs().sum() / 2 < 0.12
    for name, x in {"odds": odds, "slope": slope, "loc": loc}.items():
        mean = float((joint * x).sum())
        deviation = float((joint * (x - mean) ** 2).sum()) ** 0.5
        # An effective sample of a tenth of the draws, at four standard errors.
        assert abs(draws[name].mean() - mean) < 4 * deviation / 30**0.5
        assert 0.7 * deviation < draws[name].std() < 1.4 * deviation


@pytest.mark.statistical
def test_several_sites_of_several_partitions() -> None:
    """Two groups of people, each divided in three rounds, one site with sizes that are fixed."""
    x = torch.tensor([[-1.0, 0.9, 1.2, -0.4], [0.3, 0.2, -0.8, 1.0], [1.5, -1.5, 0.1, 0.0]])
    x = x.double()
    fixed = FixedSizes(torch.tensor([2.0, 2.0]).double())

    def model() -> None:
        with pyro.plate("rounds", 3, dim=-2):
            free = pyro.sample("free", DRPM(torch.ones(3, 1, 2).double(), S))
        with pyro.plate("rounds_of_pairs", 3, dim=-1):
            pairs = pyro.sample("pairs", DRPM(sizes=fixed, s=S))
        with pyro.plate("people", 4, dim=-1), pyro.plate("rounds_again", 3, dim=-2):
            loc = (LOCATIONS @ free).squeeze(-2) + 0.5 * pairs[..., 0, :]
            pyro.sample("x", dist.Normal(loc, 1.2), obs=x)

    draws = run(model, 400).get_samples()
    assert draws["free"].shape == (400, 3, 1, 2, 4)
    assert draws["pairs"].shape == (400, 3, 2, 4)
    assert (draws["pairs"].sum(-1) == 2).all()
    log_free = DRPM(torch.ones(2).double(), S).log_prob(PARTITIONS)
    law = DRPM(sizes=fixed, s=S, validate_args=False)
    log_pairs = law.log_prob(PARTITIONS)
    for t in range(3):
        loc = (LOCATIONS @ PARTITIONS)[:, None] + 0.5 * PARTITIONS[:, 0]
        log_joint = log_free[:, None] + log_pairs + dist.Normal(loc, 1.2).log_prob(x[t]).sum(-1)
        far, independent = distance(draws["free"][:, t, 0], log_joint.logsumexp(1))
        assert far < 3 * independent
        far, independent = distance(draws["pairs"][:, t], log_joint.logsumexp(0))
        assert far < 3 * independent


@pytest.mark.statistical
def test_a_partition_whose_law_depends_on_another() -> None:
    """What is observed of the second reaches the first through that law alone."""

    def log_s(Y: Tensor) -> Tensor:
        return 1.5 * Y[..., 0, :]

    def model() -> None:
        first = pyro.sample("first", DRPM(torch.ones(2).double(), S))
        second = pyro.sample("second", DRPM(torch.ones(2).double(), log_s=log_s(first)))
        with pyro.plate("data", 4):
            pyro.sample("x", dist.Normal(LOCATIONS @ second, 0.5), obs=X)

    draws = run(model, 250).get_samples()
    log_first = DRPM(torch.ones(2).double(), S).log_prob(PARTITIONS)
    second = DRPM(torch.ones(2).double(), log_s=log_s(PARTITIONS))
    likelihood = dist.Normal(LOCATIONS @ PARTITIONS, 0.5).log_prob(X).sum(-1)
    log_joint = log_first + second.log_prob(PARTITIONS[:, None])  # (second, first)
    log_joint = log_joint + likelihood[:, None]
    far, independent = distance(draws["first"], log_joint.logsumexp(0))
    assert far < 2 * independent
    far, _ = distance(draws["second"], log_joint.logsumexp(1))
    assert far < 0.1  # it moves seldom


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_are_partitions_of_the_models_dtype(dtype: torch.dtype) -> None:
    def model() -> None:
        loc = pyro.sample("loc", dist.Normal(torch.zeros(3, dtype=dtype), 1.0).to_event(1))
        Y = pyro.sample("Y", DRPM(torch.ones(3, dtype=dtype), torch.ones(5, dtype=dtype)))
        with pyro.plate("data", 5):
            pyro.sample("x", dist.Normal(loc @ Y, 0.5), obs=torch.linspace(-1, 1, 5, dtype=dtype))

    draws = run(model, 5, 3).get_samples()
    assert draws["Y"].dtype == draws["loc"].dtype == dtype
    assert (
        DRPM(torch.ones(3, dtype=dtype), torch.ones(5, dtype=dtype)).support.check(draws["Y"]).all()
    )


def test_draws_follow_pyros_seed_alone() -> None:
    def draw(seed: int = 0) -> Tensor:
        return run(mixed, 8, 4, seed=seed).get_samples()["Y"]

    first = draw()
    state = str(np.random.get_state())
    again = draw()
    assert str(np.random.get_state()) == state
    assert torch.equal(first, again)
    assert not torch.equal(first, draw(seed=1))


def test_chains_and_first_values() -> None:
    """Chains begin where they are told to."""
    apart = PARTITIONS[[3, 12]]
    initial = {
        "Y": apart,
        "odds": torch.tensor([0.0, 0.1]).double(),
        "slope": torch.zeros(2).double(),
        "loc": torch.tensor([1.0, -1.0]).double(),
    }
    began = []

    class Watched(PartitionGibbs):
        def setup(self, warmup_steps: int, *args: Any, **kwargs: Any) -> None:
            super().setup(warmup_steps, *args, **kwargs)
            began.append(self.initial_params)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of chains that run one after the other
        mcmc = MCMC(
            Watched(mixed),
            3,
            warmup_steps=1,
            num_chains=2,
            initial_params=initial,
            disable_progbar=True,
        )
        mcmc.run()
    assert mcmc.get_samples(group_by_chain=True)["Y"].shape == (2, 3, 2, 4)
    for name, values in initial.items():
        assert torch.equal(torch.stack([first[name] for first in began[:2]]), values)


def test_transforms_bring_constrained_sites_back() -> None:
    def model() -> None:
        scale = pyro.sample("scale", dist.LogNormal(NORMAL.loc, 0.3))
        Y = pyro.sample("Y", DRPM(torch.ones(2).double(), S))
        with pyro.plate("data", 4):
            pyro.sample("x", dist.Normal(LOCATIONS @ Y, scale), obs=X)

    assert (run(model, 10, 5).get_samples()["scale"] > 0).all()


def test_kernels_can_be_pickled_and_report() -> None:
    kernel = PartitionGibbs(mixed, kernel=functools.partial(HMC, step_size=0.1, num_steps=3))
    pickle.loads(pickle.dumps(kernel))
    mcmc = MCMC(kernel, 4, warmup_steps=2, disable_progbar=True)
    mcmc.run()
    report = mcmc.diagnostics()
    assert 0 <= report["moved"]["chain 0"] <= 1
    assert "acceptance rate" in report


def constant_partition(**options: Any) -> Callable[[], None]:
    def model() -> None:
        with pyro.poutine.scale(scale=options.get("scale", 1.0)):
            Y = pyro.sample("Y", DRPM(torch.ones(2), torch.ones(4)), obs=options.get("obs"))
        if "discrete" in options:
            pyro.sample("c", dist.Bernoulli(0.5))
        with pyro.plate("data", 4, subsample_size=options.get("subsample_size")) as index:
            loc = pyro.sample("loc", dist.Normal(0.0, 1.0)) if "local" in options else 0.0
            pyro.sample("x", dist.Normal(Y[0, index] + loc, 1.0), obs=X[index].float())

    return model


@pytest.mark.parametrize(
    ("model", "kernel", "message"),
    [
        (constant_partition(scale=0.5), NUTS, "site 'Y' without scale and mask"),
        (constant_partition(obs=PARTITIONS[0].float()), NUTS, "the model has none"),
        (constant_partition(discrete=True), NUTS, r"site 'c' is discrete \(Bernoulli\)"),
        (constant_partition(subsample_size=2), NUTS, "plate 'data' draws 2 of 4"),
        (
            constant_partition(local=True),
            functools.partial(NUTS, jit_compile=True),
            "HMC or NUTS, not compiled",
        ),
        (constant_partition(local=True), RandomWalkKernel, "HMC or NUTS, not compiled"),
    ],
)
def test_models_that_cannot_be_sampled(model: Any, kernel: Any, message: str) -> None:
    mcmc = MCMC(PartitionGibbs(model, kernel), 2, warmup_steps=1, disable_progbar=True)
    with pytest.raises(ValueError, match=message):
        mcmc.run()


@pytest.mark.parametrize("number", [0, 1.5])
def test_numbers_of_sweeps_are_checked(number: Any) -> None:
    with pytest.raises(ValueError, match=f"positive integer num_sweeps, got {number}"):
        PartitionGibbs(elementwise, num_sweeps=number)


def test_several_sweeps_in_a_step() -> None:
    """Without continuous sites a step of three sweeps is three steps."""
    thinned, every = run(elementwise, 5, 0, num_sweeps=3), run(elementwise, 15, 0)
    assert torch.equal(thinned.get_samples()["Y"], every.get_samples()["Y"][2::3])
    assert thinned.diagnostics()["moved"] == every.diagnostics()["moved"]


def test_masks_of_the_distribution_itself_are_refused() -> None:
    def model() -> None:
        pyro.sample("Y", DRPM(torch.ones(2), torch.ones(4)).mask(False))

    with pytest.raises(ValueError, match="without scale and mask"):
        run(model, 2)


@pytest.mark.parametrize("elementwise", [True, False])
def test_log_probabilities_that_are_no_numbers(elementwise: bool) -> None:
    def model() -> None:
        Y = pyro.sample("Y", DRPM(torch.ones(2), torch.ones(4)))
        with pyro.plate("data", 4):
            terms = (Y[0] - 0.5).sqrt()
            pyro.factor("odd", terms if elementwise else terms.sum().expand(4))

    with pytest.raises(ValueError, match="site 'odd' to be a number at every value of 'Y'"):
        run(model, 2)


def test_likelihoods_of_zero_are_left() -> None:
    """A first draw of the prior may be impossible."""

    def model() -> None:
        Y = pyro.sample("Y", DRPM(torch.ones(2).double(), S))
        with pyro.plate("data", 4):
            allowed = Y[0] == torch.tensor([1.0, 0.0, 1.0, 0.0]).double()
            pyro.factor("only", torch.where(allowed, 0.0, -torch.inf))

    draws = run(model, 5, 1).get_samples()["Y"]
    assert (draws[:, 0] == torch.tensor([1.0, 0.0, 1.0, 0.0]).double()).all()
