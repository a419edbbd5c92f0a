# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

import pytest
import torch

from pyro_drpm.ops.sizes.search import passing_point


@pytest.mark.parametrize(("sections", "rounds"), [(2, 50), (7, 18), (32, 10)])
def test_cube_roots(sections: int, rounds: int) -> None:
    roots = torch.tensor([[-10, -3, -1e-3], [0.0, 2 ** (1 / 3), 2]], dtype=torch.float64)
    low, width = torch.full((2, 3, 1), -11.0).double(), torch.tensor([[[11.0]], [[14.0]]]).double()
    cubes = roots.unsqueeze(-1) ** 3
    found = passing_point(lambda x: x**3 < cubes, low, width, sections, rounds)
    torch.testing.assert_close(found.squeeze(-1), roots, rtol=0, atol=1e-13)


def test_nothing_and_everything_is_below() -> None:
    low, answers = torch.zeros(2, 1), torch.tensor([[True], [False]])
    found = passing_point(lambda x: answers, low, low + 1, 2, 20)
    torch.testing.assert_close(found, torch.tensor([[1.0], [0.0]]), rtol=0, atol=1e-6)
