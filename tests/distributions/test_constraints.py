# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Round-off is accepted, of either sign, and nothing beyond."""

import pytest
import torch
from torch import Tensor

from pyro_drpm.distributions.constraints import (
    partition_matrix,
    relaxed_partition_matrix,
    subset_sizes,
)

ROUND_OFF, BEYOND = 5e-5, 2e-4
BOTH_SIGNS = [1.0, -1.0]
PARTITION = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]], dtype=torch.float64)


@pytest.mark.parametrize("sign", BOTH_SIGNS)
@pytest.mark.parametrize("entry", [(0, 0), (0, 1)])
def test_partition_matrix(entry: tuple[int, int], sign: float) -> None:
    def moved(amount: float) -> Tensor:
        value = PARTITION.clone()
        value[entry] += sign * amount
        return value

    assert partition_matrix.check(moved(ROUND_OFF))
    assert not partition_matrix.check(moved(BEYOND))


@pytest.mark.parametrize("sign", BOTH_SIGNS)
def test_relaxed_partition_matrix_adds_up(sign: float) -> None:
    """The round-off of ``n`` columns adds up."""
    relaxed = torch.full((2, 10), 0.5, dtype=torch.float64)
    assert relaxed_partition_matrix.check(relaxed + sign * ROUND_OFF / 2)
    assert not relaxed_partition_matrix.check(relaxed + sign * BEYOND / 2)


def test_relaxed_partition_matrix_is_not_negative() -> None:
    def shifted(amount: float) -> Tensor:
        return PARTITION + torch.tensor([[amount], [-amount]]) * (1 - 2 * PARTITION[1])

    assert relaxed_partition_matrix.check(shifted(ROUND_OFF))
    assert not relaxed_partition_matrix.check(shifted(BEYOND))


@pytest.mark.parametrize("sign", BOTH_SIGNS)
def test_subset_sizes(sign: float) -> None:
    support = subset_sizes(6, torch.tensor([1, 2, 0]), torch.tensor([2, 2, 2]))
    sizes = torch.full((3,), 2.0, dtype=torch.float64)
    assert support.check(sizes + sign * ROUND_OFF)
    assert not support.check(sizes + sign * BEYOND)
    # Rounded these would add up, too.
    assert not support.check(sizes + sign * 0.3)
