# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""What every distribution of the package does with its values, whatever they are."""

import copy
import math
import pickle
import re
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from pyro_drpm import DRPM, MultivariateFisherHypergeometric, PlackettLuce
from pyro_drpm.distributions import FixedSizes, SizeDistribution, TiedPlackettLuce
from tests.garbage import tensors_in_cycles


def test_samples_lie_in_the_support(case: Any) -> None:
    d = case.build()
    value = case.values(d, (20,))
    valid = d.support.check(value)
    assert valid.shape == (20, *case.batch_shape)
    assert valid.all()
    assert d.log_prob(value).isfinite().all()
    assert (d.support.check(d.mode)).all()
    assert d.support.is_discrete == (case.options.get("hard", True))


def test_memory_is_freed_at_once(case: Any) -> None:
    def use() -> None:
        d = case.build().expand_by([2])
        d.log_prob(case.values(d, (3,)))

    assert not tensors_in_cycles(use)


def with_first(value: Tensor, entry: float) -> Tensor:
    value = value.clone()
    value.view(-1)[0] = entry
    return value


CORRUPTIONS: dict[type, dict[str, Callable[[Tensor], Tensor]]] = {
    DRPM: {
        "an empty column": lambda Y: Y * torch.arange(Y.shape[-1]).bool(),
        "a column of ones": lambda Y: Y + torch.ones(Y.shape[-1]).cumsum(-1).eq(1),
        "negative": lambda Y: -Y,
        "halves": lambda Y: Y / 2,
        "NaN": lambda Y: with_first(Y, math.nan),
        "infinite": lambda Y: with_first(Y, math.inf),
    },
    SizeDistribution: {
        "one too many": lambda n: n + torch.eye(n.shape[-1])[0],
        "one too few": lambda n: n - torch.eye(n.shape[-1])[0],
        "negative": lambda n: -n,
        "fractions": lambda n: (
            n + 0.5 * torch.eye(n.shape[-1])[0] - 0.5 * torch.eye(n.shape[-1])[-1]
            if n.shape[-1] > 1
            else n + 0.5
        ),
        "NaN": lambda n: with_first(n, math.nan),
    },
    PlackettLuce: {
        "out of range": lambda order: order + 1,
        "negative": lambda order: order - 1,
        "repeated": lambda order: order * 0 + order.shape[-1] // 2 + (order.shape[-1] == 1),
    },
    TiedPlackettLuce: {
        "one group": lambda ranking: ranking * 0 + (ranking.shape[-1] == 1),
        "another group": lambda ranking: ranking + 1,
        "an absent element": lambda ranking: with_first(ranking, -1),
        "negative": lambda ranking: ranking - 5,
    },
}


def family(cls: type) -> type:
    """What the corruptions are listed for."""
    return next(family for family in CORRUPTIONS if issubclass(cls, family))


def test_support_rejects_corrupted_batch_elements(case: Any) -> None:
    d = case.build().expand_by([2])
    for corruption, corrupt in CORRUPTIONS[family(case.cls)].items():
        value = case.values(d, (3,))
        expected = torch.ones(3, *d.batch_shape, dtype=torch.bool)
        spoilt = (1, 0) + (0,) * len(case.batch_shape)
        value[spoilt] = corrupt(value[spoilt]).to(value.dtype)
        expected[spoilt] = False
        assert torch.equal(d.support.check(value), expected), corruption
        wanted = re.escape(f"to be within the support ({d.support!r}) of the distribution {d!r}")
        with pytest.raises(ValueError, match=wanted):
            d.log_prob(value)


@pytest.mark.parametrize("expand", [True, False])
def test_enumerate_support(case: Any, expand: bool) -> None:
    d = case.build().expand_by([2])
    found = d.enumerate_support(expand)
    assert found.shape[1:] == (
        (d.batch_shape if expand else (1,) * len(d.batch_shape)) + case.event_shape
    )
    if case.cardinality is not None:
        assert len(found) == case.cardinality
    if not expand:
        assert len(found.reshape(len(found), -1).unique(dim=0)) == len(found)
        torch.testing.assert_close(
            d.enumerate_support(True), found.expand(d.enumerate_support().shape)
        )
    assert found.dtype == d.sample().dtype
    if case.capacities is None:
        assert d.support.check(found).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_enumerated_masses_add_up_to_one(case: Any, dtype: torch.dtype) -> None:
    d = case.build(dtype, validate_args=False)
    total = d.log_prob(d.enumerate_support(expand=False)).logsumexp(0)
    tolerance = {torch.float32: 1e-5, torch.float64: 1e-9}[dtype]
    torch.testing.assert_close(total, torch.zeros_like(total), atol=tolerance, rtol=0)


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda d: pickle.loads(pickle.dumps(d))]
)
@pytest.mark.parametrize("used", [False, True])
def test_copies(case: Any, duplicate: Callable[[Any], Any], used: bool) -> None:
    d = case.build().expand_by([2])
    value = case.values(d)
    if used:
        d.log_prob(value)
    twin = duplicate(d)
    assert type(twin) is case.cls
    assert twin.batch_shape == d.batch_shape
    torch.testing.assert_close(twin.log_prob(value), d.log_prob(value))
    torch.testing.assert_close(case.values(twin), value)
    assert twin.expand_by([2]).sample().shape == (2, *d.shape())


def test_pickling_with_gradients(case: Any) -> None:
    leaves = {k: v.requires_grad_() for k, v in case.parameters().items() if v.is_floating_point()}
    d = case.build(**leaves)
    value = d.sample()
    if case.cls is not FixedSizes:  # which has no gradients of its log-mass
        d.log_prob(value).sum().backward()
    twin = pickle.loads(pickle.dumps(d))
    torch.testing.assert_close(twin.log_prob(value), d.log_prob(value))


@pytest.mark.parametrize("default", [torch.float32, torch.float64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype(case: Any, dtype: torch.dtype, default: torch.dtype) -> None:
    before = torch.get_default_dtype()
    torch.set_default_dtype(default)
    try:
        d = case.build(dtype)
        value = d.sample()
        of_values = torch.long if case.cls in (PlackettLuce, TiedPlackettLuce) else dtype
        assert value.dtype == d.mode.dtype == d.enumerate_support().dtype == of_values
        assert d.log_prob(value).dtype == dtype
        assert all(getattr(d, name).dtype == dtype for name in case.shapes)
        if d.has_rsample:
            assert d.rsample().dtype == dtype
        if issubclass(case.cls, SizeDistribution):
            assert d.mean.dtype == d.variance.dtype == dtype
        if case.cls is DRPM:
            hard = d.sample()
            parts = (
                *d.log_prob_parts(hard),
                *d.lower_bound_parts(hard),
                *d.upper_bound_parts(hard, case.bound),
                *d.log_prob_bounds(hard, case.bound),
            )
            assert {part.dtype for part in parts} == {dtype}
    finally:
        torch.set_default_dtype(before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool, torch.int64])
def test_values_of_other_dtypes(case: Any, dtype: torch.dtype) -> None:
    d = case.build(torch.float32)
    value = d.sample()
    if case.cls is DRPM or dtype != torch.bool:
        assert d.log_prob(value.to(dtype)).dtype == torch.float32
        torch.testing.assert_close(d.log_prob(value.to(dtype)), d.log_prob(value))


def test_tensors_follow_the_parameters_device(case: Any) -> None:
    d = case.build()
    with torch.device("meta"):  # where nothing can be computed
        value = d.sample((2,))
        made = [value, d.log_prob(value), d.mode, d.enumerate_support()]
        if d.has_rsample:
            made.append(d.rsample())
        if issubclass(case.cls, SizeDistribution):
            made += [d.mean, d.variance, d.entropy(), d.minimum, d.maximum]
        if case.cls is DRPM:
            made += d.log_prob_bounds(d.sample(), case.bound)
    assert {tensor.device.type for tensor in made} == {"cpu"}


def test_gradients(rsample_case: Any) -> None:
    leaves = {
        k: v.requires_grad_() for k, v in rsample_case.parameters().items() if v.is_floating_point()
    }
    d = rsample_case.build(**leaves).expand_by([50])
    with torch.no_grad():  # what is computed here and kept must not keep gradients from later
        d.sample()
        d.log_prob(d.sample())
    assert not d.sample().requires_grad
    value = d.rsample()
    # No sum of a term of the row and one of the column: on such weights no ordering has an effect.
    weight = torch.arange(value.numel(), dtype=value.dtype).sin().reshape(value.shape)
    if rsample_case.cardinality == 1:  # nothing can move
        return
    for name, grad in gradients((value * weight).sum(), leaves).items():
        assert grad.isfinite().all()
        if not (name == "s" and rsample_case.event_shape[-1] == 1):
            assert grad.abs().max() > 1e-3, name
    for name, grad in gradients(d.log_prob(d.sample()).sum(), leaves).items():
        assert grad.isfinite().all()
        if not (name == "s" and rsample_case.event_shape[-1] == 1):
            assert grad.abs().max() > 1e-3, name


def gradients(loss: Tensor, leaves: dict[str, Tensor]) -> dict[str, Tensor]:
    grads = torch.autograd.grad(loss, list(leaves.values()), retain_graph=True)
    return dict(zip(leaves, grads, strict=True))


def test_rsample_values_are_exact(rsample_case: Any) -> None:
    """A straight-through sample is what ``sample`` gives, not only up to round-off."""
    leaves = {
        k: v.requires_grad_() for k, v in rsample_case.parameters().items() if v.is_floating_point()
    }
    d = rsample_case.build(**leaves)
    pyro.set_rng_seed(3)
    soft = d.rsample((30,)).detach()
    pyro.set_rng_seed(3)
    hard = d.sample((30,))
    assert torch.equal(hard, hard.round())
    if rsample_case.options.get("hard", True):
        assert torch.equal(soft, hard)
    else:
        torch.testing.assert_close(soft.sum((-1, -2)), hard.sum((-1, -2)))
        assert not torch.equal(soft, soft.round())


def test_seed_decides(case: Any) -> None:
    d = case.build()
    first, again = case.values(d, (10,)), case.values(d, (10,))
    assert torch.equal(first, again)
    if case.cardinality != 1:
        assert not torch.equal(first, d.sample((10,)))


def test_repr_shows_the_parameters(case: Any) -> None:
    d = case.build()
    shown = repr(d.expand_by([2]))
    assert shown.startswith(f"{case.cls.__name__}(") and shown.endswith(")")
    assert ("total_count: " in shown) == (case.cls not in (PlackettLuce, TiedPlackettLuce))
    for name in case.shapes:
        full = torch.Size((2, *case.batch_shape, *case.event_shape_of(name)))
        label = f"log_{name}" if name in ("omega", "s", "subset_s") else name
        assert f"{label}: {full}" in shown


def test_repr_of_the_support_says_what_a_value_must_be() -> None:
    weights, scores = torch.ones(2), torch.ones(3)
    capacities = torch.tensor([1, 3])
    supports = {
        DRPM(weights, scores).support: (
            "PartitionMatrix: each column has a single 1 and else 0",
            torch.zeros(2, 3),
        ),
        DRPM(weights, scores, hard=False).support: (
            "RelaxedPartitionMatrix: entries are at least 0 and add up to the number of columns",
            torch.zeros(2, 3),
        ),
        PlackettLuce(scores).support: (
            "Ordering: a permutation of 0, ..., n - 1",
            torch.zeros(3),
        ),
        TiedPlackettLuce(scores, sizes=[1, 2]).support: (
            "TiedRanking: numbers of groups from 0, [1, 2] of each, -1 for absent elements",
            torch.zeros(3),
        ),
        MultivariateFisherHypergeometric(3, weights, capacities=capacities).support: (
            "SubsetSizes: integers that add up to 3, at least [0, 0] and at most [1, 3]",
            torch.zeros(2),
        ),
    }
    for support, (shown, wrong) in supports.items():
        assert repr(support) == shown
        assert not support.check(wrong)


def test_values_go_unchecked_without_validation(case: Any) -> None:
    d = case.build(validate_args=False)
    corruptions = {DRPM: "an empty column", PlackettLuce: "repeated", TiedPlackettLuce: "one group"}
    corruption = corruptions.get(case.cls, "one too many")
    corrupt = CORRUPTIONS[family(case.cls)][corruption]
    if case.event_shape != (1,):  # a single index cannot be wrong and yet exist
        assert d.log_prob(corrupt(d.sample())).shape == case.batch_shape
    for name in case.shapes:
        nothing = torch.full(case.shapes[name], math.nan, dtype=torch.float64)
        assert case.build(validate_args=False, **{name: nothing}).batch_shape == case.batch_shape
        with pytest.raises(ValueError, match="nan"):
            case.build(validate_args=True, **{name: nothing})


def test_noise_decides(drpm_case: Any) -> None:
    d = drpm_case.build()
    size_shape, ordering_shape = d.noise_shapes
    gumbel = dist.Gumbel(torch.zeros((), dtype=torch.float64), 1.0)
    sizes = gumbel.sample((3, *d.batch_shape, *size_shape))
    ordering = gumbel.sample((3, *d.batch_shape, *ordering_shape))
    value = d.partition(sizes, ordering)
    assert value.shape == (3, *d.batch_shape, *d.event_shape)
    assert torch.equal(value, d.partition(sizes, ordering))
    assert d.support.check(value).all()
    torch.testing.assert_close(d.partition(None, None), d.noiseless)
    for given in [(sizes, None), (None, ordering)]:
        assert d.partition(*given).shape == (3, *d.batch_shape, *d.event_shape)
