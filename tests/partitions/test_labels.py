# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Whatever users have their partitions in means the same to every function, or is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import pyplot
from torch import Tensor

from pyro_drpm.partitions import (
    as_draws,
    as_labels,
    credible_ball,
    expected_loss,
    invariants,
    partition_loss,
    plot_num_subsets,
    plot_points,
    plot_similarity,
    plot_sizes,
    point_estimate,
    relabel,
    similarity_matrix,
    size_distribution,
    subset_sizes_of,
    to_arviz,
)
from pyro_drpm.partitions.labels import as_partition, canonical

LABELS = torch.tensor([[0, 1, 0, 2, 2], [1, 1, 0, 0, 2], [2, 0, 0, 1, 2]])
Y = torch.nn.functional.one_hot(LABELS, 3).mT.float()  # (draws, K, n)


@pytest.fixture(autouse=True)
def _backend() -> Iterator[None]:
    with pyplot.rc_context({"backend": "agg"}):
        yield
    pyplot.close("all")


def flipped(array: np.ndarray) -> np.ndarray:
    """The same array, whose memory runs backwards."""
    return np.ascontiguousarray(array[..., ::-1])[..., ::-1]


def read_only(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.setflags(write=False)
    return array


OF_INTEGERS: dict[str, Callable[[Tensor], Any]] = {
    "tensor": lambda x: x,
    "int32": lambda x: x.int(),
    "uint8": lambda x: x.to(torch.uint8),
    "array": lambda x: x.numpy(),
    "reversed": lambda x: flipped(x.numpy()),
    "big-endian": lambda x: x.numpy().astype(">i4"),
    "uint64": lambda x: x.numpy().astype(np.uint64),
    "read-only": lambda x: read_only(x.numpy()),
    "objects": lambda x: x.numpy().astype(object),
    "lists": lambda x: x.tolist(),
    "tuples": lambda x: tuple(x.tolist()),
    "list of tensors": lambda x: list(x),
    "list of arrays": lambda x: list(x.numpy()),
    "mixed list": lambda x: [x[0].numpy(), *x[1:]],
}
OF_MATRICES: dict[str, Callable[[Tensor], Any]] = {
    "tensor": lambda x: x,
    "half": lambda x: x.half(),
    "bool": lambda x: x.bool(),
    "straight-through": lambda x: x + torch.full_like(x, 1e-7).requires_grad_(),
    "array": lambda x: x.numpy(),
    "reversed": lambda x: flipped(x.numpy()),
    "big-endian": lambda x: x.numpy().astype(">f8"),
    "bool array": lambda x: x.numpy().astype(bool),
    "lists": lambda x: x.tolist(),
    "lists of bool": lambda x: x.bool().tolist(),
    "list of tensors": list,
    "list with gradients": lambda x: [row.clone().requires_grad_() for row in x],
}
FORMS = [
    *((LABELS, form) for form in OF_INTEGERS.values()),
    *((Y, form) for form in OF_MATRICES.values()),
]
IDS = [f"labels, {name}" for name in OF_INTEGERS] + [f"matrices, {name}" for name in OF_MATRICES]


@pytest.mark.parametrize(("values", "form"), FORMS, ids=IDS)
def test_draws_in_every_form(values: Tensor, form: Callable[[Tensor], Any]) -> None:
    given = form(values)
    assert torch.equal(as_draws(given), LABELS)
    assert torch.equal(as_labels(given), LABELS)
    assert torch.equal(similarity_matrix(given), similarity_matrix(LABELS))
    assert torch.equal(subset_sizes_of(given), subset_sizes_of(LABELS))
    assert torch.equal(size_distribution(given), size_distribution(LABELS))
    assert torch.equal(partition_loss(given, LABELS[0]), partition_loss(LABELS, LABELS[0]))
    assert torch.equal(expected_loss(given, given), expected_loss(LABELS, LABELS))
    assert torch.equal(relabel(given, LABELS[0]), relabel(LABELS, LABELS[0]))
    estimates = [
        point_estimate(draws, generator=torch.Generator().manual_seed(0))
        for draws in (given, LABELS)
    ]
    assert torch.equal(estimates[0].labels, estimates[1].labels)
    assert credible_ball(given, LABELS[0]).radius == credible_ball(LABELS, LABELS[0]).radius
    for name, quantity in invariants(LABELS).items():
        assert torch.equal(invariants(given)[name].float(), quantity)
    assert to_arviz({"Y": given}).posterior["Y_pairs"].shape == (1, 3, 4)
    plot_sizes(given)
    (line,) = plot_num_subsets(given).lines
    assert np.asarray(line.get_ydata()).tolist() == [3, 3, 3]


@pytest.mark.parametrize(("values", "form"), FORMS, ids=IDS)
def test_one_partition_in_every_form(values: Tensor, form: Callable[[Tensor], Any]) -> None:
    given = form(values[0])
    assert torch.equal(as_partition(given), LABELS[0])
    assert float(partition_loss(given, LABELS[0])) == 0
    assert float(expected_loss(LABELS, given)) == float(expected_loss(LABELS, LABELS[0]))
    assert credible_ball(LABELS, given).radius == credible_ball(LABELS, LABELS[0]).radius
    assert torch.equal(relabel(LABELS, given), relabel(LABELS, LABELS[0]))
    plot_similarity(LABELS, given)
    assert len(plot_points(np.zeros((5, 2)), given).collections) == 3


def test_data_frames() -> None:
    columns = [f"item {i}" for i in range(5)]
    frame = pd.DataFrame(LABELS.numpy(), index=[3, 1, 2], columns=columns)
    mixed = frame.astype({"item 0": "int8", "item 1": "Int64", "item 2": object})
    categories = frame.astype("category")
    for draws in (frame, mixed, categories, frame.astype("Int64")):
        assert torch.equal(as_draws(draws), LABELS)
        assert torch.equal(as_partition(draws.iloc[1]), LABELS[1])
    matrix = pd.DataFrame(Y[0].numpy())
    assert torch.equal(as_partition(matrix), LABELS[0])
    assert torch.equal(as_draws([matrix, matrix.astype(bool)]), LABELS[[0, 0]])


def test_integer_matrices_are_known_by_their_number_of_dims() -> None:
    assert torch.equal(as_draws(Y.long()), LABELS)
    assert torch.equal(as_partition(Y[0].long()), LABELS[0])
    assert torch.equal(as_labels(Y.long()), Y.long())  # labels, for they may be a batch


@pytest.mark.parametrize("function", [as_draws, as_labels, as_partition, invariants])
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([["a", "b"]], r"numbers .* \[\['a', 'b'\]\]"),
        ([[0, None]], "numbers"),
        (None, "numbers"),
        ({"Y": 1}, "numbers"),
        ([[[0], [0, 1]]], "inhomogeneous"),
        ([[0, 1], [0]], r"one length, but got lengths \[1, 2\]"),
        ([torch.zeros(2, 3), torch.zeros(2, 4)], "equal size"),
        ([[2**70, 0]], "numbers"),
        (np.array([[2**63, 0]], dtype=np.uint64), "64 bits"),
        (np.ma.masked_array([[0, 1]], [[True, False]]), "masked"),
        (np.array([[1j, 0]]), "complex128 is no type of numbers"),
        (np.array([["2026-01-01"]], dtype="datetime64[D]"), "no type of numbers"),
        (torch.tensor([0.0, 1.0, 2.0]), "torch.float32"),
        (torch.tensor([True, False]), "torch.bool"),
        (torch.full((2, 2, 4), 0.5), "one 1 in every column"),
        (torch.full((1, 2, 4), torch.nan), "one 1 in every column"),
        (torch.ones(1, 2, 4, dtype=torch.bool), "one 1 in every column"),
        (torch.zeros(0, 3), "shape"),
        (torch.zeros(0, dtype=torch.long), "shape"),
        (torch.tensor(3), r"shape \(\)"),
        (3, r"shape \(\)"),
    ],
)
def test_anything_else_is_refused(
    function: Callable[[Any], Any], values: Any, message: str
) -> None:
    if function is as_partition and getattr(values, "ndim", 0) == 3:
        message = r"one partition .* got shape"
    if function is as_draws and getattr(values, "ndim", 2) < 2:
        message = r"got shape \("
    with pytest.raises(ValueError, match=message):
        function(values)


def test_errors_quote_no_more_than_a_line() -> None:
    with pytest.raises(ValueError) as error:
        as_draws([["a"] * 1000] * 1000)
    assert len(str(error.value)) < 400


def test_one_partition_is_not_several() -> None:
    for function in (credible_ball, relabel):
        with pytest.raises(ValueError, match="one 1 in every column"):
            function(LABELS, LABELS)
        with pytest.raises(ValueError, match="labels of 5 items, but got 4"):
            function(LABELS, LABELS[0, :4])


@given(data=st.data(), n=st.integers(1, 10))
def test_canonical_labels_depend_on_the_partition_alone(data: st.DataObject, n: int) -> None:
    """As the definition has it: item by item, an old number or the next one."""
    extremes = st.sampled_from([-(2**63), 2**63 - 1, -1, 0, 1, 5])
    rows = [data.draw(st.lists(extremes, min_size=n, max_size=n)) for _ in range(3)]
    expected = []
    for row in rows:
        numbers: dict[int, int] = {}
        expected.append([numbers.setdefault(label, len(numbers)) for label in row])
    assert canonical(torch.tensor(rows)).tolist() == expected
    assert canonical(torch.tensor(rows[0])).tolist() == expected[0]
