# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Tables of many partitions, whose rows are as many as there are subsets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pyro_drpm.partitions import (
    credible_ball,
    expected_loss,
    partition_loss,
    point_estimate,
    relabel,
    similarity_matrix,
    size_distribution,
    subset_sizes_of,
)
from pyro_drpm.partitions.references import reference_distances
from pyro_drpm.partitions.rows import indicator_rows, number_rows, subset_sizes

NUM_DRAWS, NUM_ITEMS = 100, 60


class LargestTensor(TorchDispatchMode):
    """Keeps the number of entries of the largest tensor that is made, and their sum."""

    def __init__(self) -> None:
        super().__init__()
        self.entries, self.all_entries = 0, 0

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self.entries = max(self.entries, tensor.numel())
                self.all_entries += tensor.numel()
        return result


def some_draws(number: int, n: int, num_labels: int) -> Tensor:
    """Copies of a partition, some of whose labels have been drawn anew."""
    generator = torch.Generator().manual_seed(0)
    center = torch.randint(num_labels, (n,), generator=generator)
    other = torch.randint(num_labels, (number, n), generator=generator)
    return torch.where(torch.rand(number, n, generator=generator) < 0.2, other, center)


def search(draws: Tensor, loss: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    point_estimate(draws, loss, num_starts=4, max_sweeps=2, generator=generator)


@pytest.mark.parametrize(
    "function",
    [
        similarity_matrix,
        lambda draws: partition_loss(draws, draws[1]),
        lambda draws: expected_loss(draws, draws),
        lambda draws: expected_loss(draws, draws, "vi_lb"),
        lambda draws: credible_ball(draws, draws[1]),
        lambda draws: relabel(draws, draws[1]),
        lambda draws: search(draws, "vi"),
        lambda draws: search(draws, "binder"),
        lambda draws: search(draws, "vi_lb"),
        lambda draws: subset_sizes_of(draws, sort=True),
        lambda draws: size_distribution(draws, sort=True),
        lambda draws: reference_distances(draws.unsqueeze(0)),
    ],
)
def test_a_draw_of_single_items_costs_no_more_than_others(
    function: Callable[[Tensor], Any],
) -> None:
    """Neither memory nor work, which the entries of all tensors stand for."""
    draws = some_draws(NUM_DRAWS, NUM_ITEMS, 3)
    with LargestTensor() as before:
        function(draws)
    draws[0] = torch.arange(NUM_ITEMS)
    with LargestTensor() as after:
        function(draws)
    assert after.entries < 2 * max(before.entries, draws.numel())
    assert after.all_entries < 2.5 * before.all_entries


def test_rows_are_those_of_the_subsets(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = torch.tensor([[0, 1, 0], [0, 0, 0], [0, 1, 2], [0, 1, 1]])
    assert number_rows(labels).tolist() == [[0, 1, 0], [2, 2, 2], [3, 4, 5], [6, 7, 7]]
    assert subset_sizes(labels).tolist() == [[2, 1, 0], [3, 0, 0], [1, 1, 1], [1, 2, 0]]
    expected = torch.stack([draw == k for draw in labels for k in draw.unique()])
    for chunk in (1, 7, 10**6):
        monkeypatch.setattr("pyro_drpm.partitions.rows._CHUNK", chunk)
        parts = list(indicator_rows(labels))
        assert torch.equal(torch.cat([members for _, members in parts]).bool(), expected)
        assert sum(len(rows) for rows, _ in parts) == len(labels)
        for rows, members in parts:
            assert (members.gather(0, rows) == 1).all()
