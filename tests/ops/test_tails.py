# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

import pytest
import torch
from torch import Tensor

from pyro_drpm.ops.tails import log_tails

# Torch's own, where it differentiates forwards.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*torch.jit.script. is deprecated:DeprecationWarning"
)

SEGMENTS = {
    "one": None,
    "several": torch.tensor([0, 0, 0, 1, 2, 2, 2, 2, 2, 3, 3]),
    "all apart": torch.arange(11),
}
N = 11


def naive(x: Tensor, segment: Tensor | None) -> Tensor:
    if segment is None:
        segment = torch.zeros(x.shape[-1], dtype=torch.long)
    place = torch.arange(x.shape[-1])
    counts = (segment == segment.unsqueeze(-1)) & (place >= place.unsqueeze(-1))
    return x.unsqueeze(-2).masked_fill(~counts, -torch.inf).logsumexp(-1)


@pytest.mark.parametrize("segment", SEGMENTS.values(), ids=SEGMENTS)
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_values(segment: Tensor | None, scale: float) -> None:
    torch.manual_seed(0)
    x = scale * torch.randn(2, 3, N, dtype=torch.float64)
    torch.testing.assert_close(log_tails(x, segment), naive(x, segment), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("segment", SEGMENTS.values(), ids=SEGMENTS)
@pytest.mark.parametrize("place", [0, 4, 10])
def test_derivatives_of_single_tails(segment: Tensor | None, place: int) -> None:
    """All others have gradients of zero."""
    torch.manual_seed(0)
    x = 3 * torch.randn(N, dtype=torch.float64)
    for function in (torch.autograd.functional.jacobian, torch.autograd.functional.hessian):
        found = function(lambda x: log_tails(x, segment)[place], x)
        torch.testing.assert_close(found, function(lambda x: naive(x, segment)[place], x))
    transformed = torch.func.hessian(lambda x: log_tails(x, segment)[place])(x)
    torch.testing.assert_close(transformed, found)
    twice = torch.func.jacrev(torch.func.jacrev(lambda x: log_tails(x, segment)[place]))(x)
    torch.testing.assert_close(twice, found)


def test_gradients_of_any_sign() -> None:
    torch.manual_seed(0)
    x = 10 * torch.randn(4, N, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(4, N, dtype=torch.float64)
    for segment in SEGMENTS.values():
        (found,) = torch.autograd.grad((log_tails(x, segment) * weights).sum(), x)
        (expected,) = torch.autograd.grad((naive(x, segment) * weights).sum(), x)
        torch.testing.assert_close(found, expected)
