# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Bad input is a ``ValueError`` that quotes what came and says what would be right."""

import math
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from pyro_drpm import DRPM, MultivariateFisherHypergeometric, PlackettLuce
from pyro_drpm.infer import ExponentialAnnealing, TracePartition_ELBO

W, S = torch.ones(3), torch.ones(4)
Y = torch.tensor([[1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]])
NAN, INF = math.nan, math.inf

PARAMETERS: dict[str, Callable[[Any], Any]] = {
    "omega": lambda x: DRPM(x, S),
    "s": lambda x: DRPM(W, x),
    "log_omega": lambda x: DRPM(log_omega=x, s=S),
    "log_s": lambda x: DRPM(W, log_s=x),
    "sizes omega": lambda x: MultivariateFisherHypergeometric(4, x),
    "sizes log_omega": lambda x: MultivariateFisherHypergeometric(4, log_omega=x),
    "ordering s": lambda x: PlackettLuce(x),
    "ordering log_s": lambda x: PlackettLuce(log_s=x),
}
every_parameter = pytest.mark.parametrize("parameter", PARAMETERS)


def raises(right: str, received: str) -> Any:
    """Both halves of a message."""
    return pytest.raises(
        ValueError, match=f"(?s)xpected.*{re.escape(right)}.*{re.escape(received)}"
    )


@every_parameter
@pytest.mark.parametrize("value", [NAN, INF, -INF, 0.0, -2.0])
def test_parameter_values(parameter: str, value: float) -> None:
    given = torch.tensor([[1.0, 2.0], [1.0, value]])
    is_log = "log" in parameter
    if is_log and math.isfinite(value):
        PARAMETERS[parameter](given)
        return
    right = f"{parameter.split()[-1]} to be {'finite' if is_log else 'positive and finite'}"
    with raises(right, f"got {value} at index (1, 1) of shape (2, 2)"):
        PARAMETERS[parameter](given)


@every_parameter
@pytest.mark.parametrize("dtype", [torch.int64, torch.float16, torch.bfloat16, torch.complex64])
def test_parameter_dtypes(parameter: str, dtype: torch.dtype) -> None:
    with raises(f"{parameter.split()[-1]} of dtype float32 or float64", f"got {dtype}"):
        PARAMETERS[parameter](torch.ones(2, dtype=dtype))


@every_parameter
@pytest.mark.parametrize("shape", [(), (0,), (2, 0)])
def test_parameters_without_entries(parameter: str, shape: tuple[int, ...]) -> None:
    with raises("(*batch, size) with size at least 1", f"got shape {shape}"):
        PARAMETERS[parameter](torch.ones(shape))


@every_parameter
@pytest.mark.parametrize("given", [1.0, [1.0, 2.0]])
def test_parameters_that_are_no_tensors(parameter: str, given: Any) -> None:
    with raises("to be a tensor", f"got {given}"):
        PARAMETERS[parameter](given)


@pytest.mark.parametrize(
    ("build", "right", "received"),
    [
        (lambda: DRPM(W, S, log_omega=W), "either omega or log_omega", "both"),
        (lambda: DRPM(W, S, log_s=S), "either s or log_s", "both"),
        (lambda: DRPM(s=S), "either omega or log_omega", "neither"),
        (lambda: DRPM(W), "either s or log_s", "neither"),
        (
            lambda: MultivariateFisherHypergeometric(4),
            "either omega or log_omega",
            "neither",
        ),
        (
            lambda: MultivariateFisherHypergeometric(4, W, log_omega=W),
            "either omega or log_omega",
            "both",
        ),
        (lambda: PlackettLuce(), "either s or log_s", "neither"),
        (lambda: PlackettLuce(S, log_s=S), "either s or log_s", "both"),
        (
            lambda: DRPM(W, S.double()),
            "and scores of the same dtype",
            "got torch.float32 for sizes and torch.float64 for s",
        ),
        (
            lambda: DRPM(W, torch.ones(4, device="meta"), validate_args=False),
            "and scores of the same device",
            "got cpu for sizes and meta for s",
        ),
        (
            lambda: DRPM(torch.ones(2, 3), torch.ones(5, 4)),
            "batch shapes that broadcast",
            "got sizes of shape (2, 3) and scores of shape (5, 4)",
        ),
    ],
)
def test_parameters_that_do_not_go_together(
    build: Callable[[], Any], right: str, received: str
) -> None:
    with raises(right, received):
        build()


@pytest.mark.parametrize(
    "build",
    [
        lambda capacities: DRPM(W, S, capacities=capacities),
        lambda capacities: MultivariateFisherHypergeometric(4, W, capacities=capacities),
    ],
)
@pytest.mark.parametrize(
    ("capacities", "right", "received"),
    [
        (torch.tensor([1, 1, 1]), "that add up to 4", "maximum=[1, 1, 1]"),
        (
            torch.tensor([[4, 4, 4], [1, 2, 0]]),
            "that add up to 4",
            "maximum=[[4, 4, 4], [1, 2, 0]]",
        ),
        (torch.tensor([-1, 4, 4]), "0 <= minimum <= maximum", "maximum=[-1, 4, 4]"),
        (torch.tensor([4.0, 4.0, 4.0]), "integer tensor", "got torch.float32"),
        (torch.tensor([True, True, True]), "integer tensor", "got torch.bool"),
        ([4, 4.0, 4], "integer tensor", "got [4, 4.0, 4]"),
        ([4, True, 4], "integer tensor", "got [4, True, 4]"),
        ([4, 4], "broadcasts with (3,)", "got (2,)"),
        ([1, 1, 1], "that add up to 4", "maximum=[1, 1, 1]"),
        (4, "integer tensor", "got 4"),
        (torch.tensor([4, 4]), "broadcasts with (3,)", "got (2,)"),
        (torch.ones(2, 4).long(), "broadcasts with (3,)", "got (2, 4)"),
    ],
)
def test_capacities(
    build: Callable[[Any], Any], capacities: Any, right: str, received: str
) -> None:
    with raises(right, received):
        build(capacities)


def test_capacities_and_scores_that_do_not_broadcast() -> None:
    with raises("batch shapes that broadcast", "scores of shape (5, 4)"):
        DRPM(W, torch.ones(5, 4), capacities=torch.full((2, 3), 4))


@pytest.mark.parametrize("total_count", [0, -1, 4.0, True, None, torch.tensor(4)])
def test_total_count(total_count: Any) -> None:
    with raises("positive integer total_count", f"got {total_count!r}"):
        MultivariateFisherHypergeometric(total_count, W)


@pytest.mark.parametrize(
    "temperature",
    [0, 0.0, -1.0, NAN, INF, "0.5", None, torch.tensor(0.0), torch.tensor(NAN), torch.ones(2)],
)
def test_temperature(temperature: Any) -> None:
    right, received = "temperature to be a positive finite number", f"got {temperature}"
    if isinstance(temperature, Tensor) and temperature.dim() == 0:
        received = f"got {temperature.item()}"
    with raises(right, received):
        DRPM(W, S, temperature=temperature)
    with raises(right, received):
        DRPM(W, S).with_temperature(temperature)


def changed(place: tuple[int, int], entry: float) -> Tensor:
    value = Y.clone()
    value[place] = entry
    return value


def quoted(value: Any) -> str:
    """What a reader would recognise of a tensor: its first row."""
    return str(value[0]).removeprefix("tensor(").removesuffix(")")


@pytest.mark.parametrize(
    "of_value",
    [
        lambda d, value: d.log_prob(value),
        lambda d, value: d.log_prob_parts(value),
        lambda d, value: d.log_prob_bounds(value),
        lambda d, value: d.lower_bound_parts(value),
        lambda d, value: d.upper_bound_parts(value, bound="tight"),
    ],
)
class TestPartition:
    @pytest.mark.parametrize(
        "value",
        [
            pytest.param(changed((1, 0), 1.0), id="two ones"),
            pytest.param(changed((0, 0), 0.0), id="an empty column"),
            pytest.param(changed((0, 0), NAN), id="nan"),
            pytest.param(changed((0, 0), INF), id="inf"),
            pytest.param(changed((0, 0), 2.0), id="a two"),
            pytest.param(-Y, id="negative"),
            pytest.param(torch.full((3, 4), 1 / 3), id="soft"),
        ],
    )
    def test_no_partition(self, of_value: Callable[[DRPM, Any], Any], value: Tensor) -> None:
        with raises("each column has a single 1 and else 0", quoted(value)):
            of_value(DRPM(W, S), value)

    @pytest.mark.parametrize("shape", [(4,), (2, 4), (3, 3), (4, 3), (3, 4, 1)])
    def test_shape(self, of_value: Callable[[DRPM, Any], Any], shape: tuple[int, ...]) -> None:
        with raises("a partition matrix of shape (..., 3, 4)", f"got {shape}"):
            of_value(DRPM(W, S), torch.ones(shape))

    def test_no_tensor(self, of_value: Callable[[DRPM, Any], Any]) -> None:
        with raises("a partition matrix of shape (..., 3, 4)", "got [[1, 0]]"):
            of_value(DRPM(W, S), [[1, 0]])

    def test_batch_shape(self, of_value: Callable[[DRPM, Any], Any]) -> None:
        with pytest.raises(ValueError, match=r"(?s)\[5, 3, 4\].*\[2, 3, 4\]"):
            of_value(DRPM(W, S).expand([2]), Y.expand(5, 3, 4))

    @pytest.mark.parametrize("value", [changed((1, 0), 1.0), changed((0, 0), NAN), -Y])
    def test_no_relaxed_partition(
        self, of_value: Callable[[DRPM, Any], Any], value: Tensor
    ) -> None:
        with raises("at least 0 and add up to the number of columns", quoted(value)):
            of_value(DRPM(W, S, hard=False), value)


@pytest.mark.parametrize(
    "value", [[1.0, 2.0, 2.0], [5.0, -1.0, 0.0], [3.5, 0.5, 0.0], [NAN, 2.0, 2.0], [0.0, 4.0, 0.0]]
)
def test_sizes(value: list[float]) -> None:
    d = MultivariateFisherHypergeometric(4, W, capacities=torch.tensor([4, 3, 4]))
    right = "integers that add up to 4, at least [0, 0, 0] and at most [4, 3, 4]"
    with raises(right, quoted([torch.tensor(value)])):
        d.log_prob(torch.tensor(value))


def test_sizes_of_wrong_shape() -> None:
    with pytest.raises(ValueError, match=r"(?s)\[2\].*\[3\]"):
        MultivariateFisherHypergeometric(4, W).log_prob(torch.tensor([2.0, 2.0]))


@pytest.mark.parametrize("value", [[0, 1, 2, 2], [1, 2, 3, 4], [-1, 0, 1, 2], [0.5, 1, 2, 3]])
def test_ordering(value: list[float]) -> None:
    with raises("a permutation of 0, ..., n - 1", quoted([torch.tensor(value)])):
        PlackettLuce(S).log_prob(torch.tensor(value))


def test_ordering_of_wrong_shape() -> None:
    with pytest.raises(ValueError, match=r"(?s)\[3\].*\[4\]"):
        PlackettLuce(S).log_prob(torch.tensor([0, 1, 2]))


@pytest.mark.parametrize(
    ("d", "right", "received"),
    [
        (DRPM(torch.ones(2), torch.ones(17)), "at most 65536", "K=2 and n=17"),
        (
            MultivariateFisherHypergeometric(300, W),
            "at most 65536",
            "total_count=300 and K=3",
        ),
        (PlackettLuce(torch.ones(9)), "at most 8", "n=9 with 362880 orderings"),
    ],
)
def test_enumeration_of_too_many(d: Any, right: str, received: str) -> None:
    with raises(right, received):
        d.enumerate_support()


@pytest.mark.parametrize("bound", ["loose", None, ["exact"]])
def test_bound(bound: Any) -> None:
    with raises("one of exact, tight, lemma", f"got {bound!r}"):
        TracePartition_ELBO(bound=bound)


@pytest.mark.parametrize(
    ("initial", "final"),
    [(0.0, 0.0), (1.0, 0.0), (1.0, -0.5), (0.5, 1.0), (NAN, 0.5), (1.0, NAN), (INF, 0.5)],
)
def test_annealing_temperatures(initial: float, final: float) -> None:
    with raises("0 < final <= initial < inf", f"got initial={initial} and final={final}"):
        ExponentialAnnealing(initial, final, steps=10)


@pytest.mark.parametrize("steps", [0, -1])
def test_annealing_steps(steps: int) -> None:
    with raises("steps >= 1", f"got {steps}"):
        ExponentialAnnealing(steps=steps)
