# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Shapes and batches of every distribution of the package."""

import itertools
from collections.abc import Iterator
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from pyro_drpm import DRPM, MultivariateFisherHypergeometric, PlackettLuce
from pyro_drpm.distributions import PitmanYorSizes, SizeDistribution

SAMPLE_SHAPES = [(), (4,), (2, 3)]


@pytest.mark.parametrize("sample_shape", SAMPLE_SHAPES)
def test_shapes(case: Any, sample_shape: tuple[int, ...]) -> None:
    d = case.build()
    assert d.batch_shape == case.batch_shape
    assert d.event_shape == case.event_shape
    assert d.event_dim == len(case.event_shape) == d.support.event_dim
    sample = d.sample(sample_shape)
    assert sample.shape == d.shape(sample_shape) == sample_shape + d.batch_shape + d.event_shape
    assert d.log_prob(sample).shape == sample_shape + d.batch_shape
    if d.has_rsample:
        assert d.rsample(sample_shape).shape == sample.shape
    assert d.mode.shape == d.batch_shape + d.event_shape


def test_infer_shapes(case: Any) -> None:
    shapes = {name: value.shape for name, value in case.parameters().items()}
    if case.cls is PitmanYorSizes:  # whose number of subsets is in no shape
        with pytest.raises(NotImplementedError, match="max_subsets"):
            case.cls.infer_shapes(**shapes)
        return
    assert case.cls.infer_shapes(**shapes) == (case.batch_shape, case.event_shape)


def indices(shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    return itertools.product(*map(range, shape))


def test_batches_are_loops(case: Any) -> None:
    d = case.build()
    value = case.values(d, (3,))
    log_prob, mode = d.log_prob(value), d.mode
    for index in indices(case.batch_shape):
        single = case.cls(**case.options, **one_of_batch(case, index))
        assert single.batch_shape == ()
        torch.testing.assert_close(
            single.log_prob(value[(slice(None), *index)]), log_prob[(slice(None), *index)]
        )
        torch.testing.assert_close(single.mode, mode[index])
        if issubclass(case.cls, SizeDistribution):
            torch.testing.assert_close(single.mean, d.mean[index])
            torch.testing.assert_close(single.variance, d.variance[index])


def one_of_batch(case: Any, index: tuple[int, ...]) -> dict[str, Tensor]:
    return {
        name: value.expand(*case.batch_shape, *value.shape[value.dim() - dim :])[index]
        for name, value in case.parameters().items()
        for dim in [case.event_dim_of(name)]
    }


def test_fewer_values_than_batch_broadcast(case: Any) -> None:
    d = case.build(validate_args=False)  # capacities may differ within the batch
    value = case.values(d)[(0,) * len(case.batch_shape)]
    expected = d.log_prob(value.expand(*case.batch_shape, *case.event_shape))
    assert d.log_prob(value).shape == expected.shape == case.batch_shape
    torch.testing.assert_close(d.log_prob(value), expected)


@pytest.mark.parametrize("left", [(), (3,), (2, 3)])
def test_expand(case: Any, left: tuple[int, ...]) -> None:
    d = case.build()
    batch_shape = left + case.batch_shape
    for wide in (d.expand(list(batch_shape)), d.expand(torch.Size(batch_shape)), d.expand_by(left)):
        assert type(wide) is case.cls
        assert wide.batch_shape == batch_shape
        assert wide.event_shape == case.event_shape
        value = case.values(wide, (2,))
        assert value.shape == (2, *batch_shape, *case.event_shape)
        torch.testing.assert_close(wide.log_prob(value), d.log_prob(value))
        assert wide.mode.shape == batch_shape + case.event_shape
        for name in case.shapes:
            assert getattr(wide, name).shape == (*batch_shape, *case.event_shape_of(name))
        assert wide.support.check(value).shape == (2, *batch_shape)


def test_expand_twice(case: Any) -> None:
    d = case.build()
    twice = d.expand((2, *case.batch_shape)).expand([3, 2, *case.batch_shape])
    assert type(twice) is case.cls
    value = case.values(twice)
    assert value.shape == (3, 2, *case.batch_shape, *case.event_shape)
    torch.testing.assert_close(twice.log_prob(value), d.log_prob(value))


def test_expanded_samples_are_independent(case: Any) -> None:
    wide = case.build().expand_by([200])
    distinct = wide.sample().reshape(200, -1).unique(dim=0)
    assert (len(distinct) == 1) == (case.cardinality == 1)


def test_expand_singleton_batch(case: Any) -> None:
    d = case.build()
    wide = d.expand((1, *case.batch_shape)).expand((4, *case.batch_shape))
    assert wide.batch_shape == (4, *case.batch_shape)
    value = case.values(wide)
    assert value.shape == (4, *case.batch_shape, *case.event_shape)
    for of_wide, copy in zip(wide.log_prob(value), value, strict=True):
        torch.testing.assert_close(of_wide, d.log_prob(copy))


def test_expand_to_nothing(case: Any) -> None:
    empty = case.build().expand((0, *case.batch_shape))
    assert empty.sample().shape == (0, *case.batch_shape, *case.event_shape)
    assert empty.log_prob(empty.sample()).shape == (0, *case.batch_shape)


def test_expand_to_what_does_not_fit(case: Any) -> None:
    d = case.build().expand_by([3])
    for batch_shape in ((4, *case.batch_shape), case.batch_shape, ()):
        with pytest.raises(ValueError, match=f"batch shape {re_tuple(d.batch_shape)}.*got"):
            d.expand(batch_shape)


def re_tuple(shape: tuple[int, ...]) -> str:
    return str(tuple(shape)).replace("(", r"\(").replace(")", r"\)")


def test_expand_keeps_options(case: Any) -> None:
    d = case.build(validate_args=False).expand_by([2])
    assert d._validate_args is False
    assert case.build(validate_args=True).expand_by([2])._validate_args is True
    if case.cls is DRPM:
        assert d.hard == case.options.get("hard", True)
        assert d.temperature == case.options.get("temperature", 0.5)
        assert d.with_temperature(2.0).temperature == 2.0
        assert d.temperature == case.options.get("temperature", 0.5)
        assert d.with_temperature(2.0).batch_shape == d.batch_shape


def test_expand_keeps_has_rsample(rsample_case: Any) -> None:
    d = rsample_case.build().has_rsample_(False)
    assert not d.expand_by([2]).has_rsample
    assert not d.expand_by([2]).expand_by([2]).has_rsample
    assert rsample_case.build().expand_by([2]).has_rsample
    if rsample_case.cls is DRPM:
        assert not d.with_temperature(1.0).has_rsample


def test_to_event(case: Any) -> None:
    d = case.build().expand_by([2, 3])
    event = d.to_event(1 + len(case.batch_shape))
    assert event.batch_shape == (2,)
    assert event.event_shape == (3, *case.batch_shape, *case.event_shape)
    value = case.values(d)
    assert event.sample().shape == value.shape
    torch.testing.assert_close(event.log_prob(value), d.log_prob(value).reshape(2, -1).sum(-1))
    assert event.support.check(value).shape == (2,)


def test_mask(case: Any) -> None:
    d = case.build().expand_by([2])
    mask = torch.tensor([True, False]).reshape(2, *(1,) * len(case.batch_shape))
    masked = d.mask(mask)
    value = case.values(d)
    assert masked.sample().shape == value.shape
    torch.testing.assert_close(masked.log_prob(value)[0], d.log_prob(value)[0])
    assert (masked.log_prob(value)[1] == 0).all()
    assert masked.support is not None


def test_site(case: Any) -> None:
    """In a trace shapes are checked by Pyro."""
    d = case.build()

    def model() -> Tensor:
        with pyro.plate_stack("plates", (2, *case.batch_shape)):
            return pyro.sample("value", d)

    trace = pyro.poutine.trace(model).get_trace()
    trace.compute_log_prob()
    site = trace.nodes["value"]
    assert type(site["fn"]) is case.cls
    assert not isinstance(site["fn"], dist.ExpandedDistribution)
    assert site["log_prob"].shape == (2, *case.batch_shape)
    trace.format_shapes()


def test_components(drpm_case: Any) -> None:
    d = drpm_case.build().expand_by([2])
    assert type(d.sizes) is MultivariateFisherHypergeometric
    assert type(d.ordering) is PlackettLuce
    assert d.sizes.batch_shape == d.ordering.batch_shape == d.batch_shape
    value = d.sample((3,))
    sizes, assignment = d.log_prob_parts(value)
    assert sizes.shape == assignment.shape == (3, *d.batch_shape)
    torch.testing.assert_close(sizes + assignment, d.log_prob(value))
    torch.testing.assert_close(sizes, d.sizes.log_prob(value.sum(-1)))
    bounds = d.log_prob_bounds(value, bound="tight")
    bound_parts = d.lower_bound_parts(value), d.upper_bound_parts(value, bound="tight")
    for bound, parts in zip(bounds, bound_parts, strict=True):
        torch.testing.assert_close(sum(parts), bound)
    for part in (*bounds, *bound_parts[0], *bound_parts[1]):
        assert part.shape == (3, *d.batch_shape)
    for name in ("omega", "log_omega"):
        assert getattr(d, name).shape == (*d.batch_shape, drpm_case.event_shape[0])
    for name in ("s", "log_s"):
        assert getattr(d, name).shape == (*d.batch_shape, drpm_case.event_shape[1])
