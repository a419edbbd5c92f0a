# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

import pytest
import torch
import torch.nn.functional as F

from pyro_drpm.ops import set_probability
from pyro_drpm.ops.set_probability import log_set_probability
from tests.oracles import log_assignment


def random_partition(num_subsets: int, n: int) -> torch.Tensor:
    return F.one_hot(torch.randint(num_subsets, (n,)), num_subsets).mT.double()


@pytest.mark.parametrize("hard", [True, False])
@pytest.mark.parametrize(
    ("scale", "tolerance"), [(0.0, 1e-12), (1.0, 1e-12), (5.0, 1e-12), (15.0, 1e-11), (300.0, 1e-9)]
)
def test_against_the_sum_over_orderings(scale: float, tolerance: float, hard: bool) -> None:
    torch.manual_seed(0)
    for _ in range(8):
        log_s, Y = scale * torch.randn(7, dtype=torch.float64), random_partition(3, 7)
        result = log_set_probability(log_s, Y, hard=hard).item()
        assert result == pytest.approx(log_assignment(log_s, Y), abs=tolerance, rel=tolerance)


def test_float32_is_accurate_to_float32() -> None:
    torch.manual_seed(0)
    log_s, Y = torch.randn(200, 7), torch.stack([random_partition(3, 7) for _ in range(200)])
    single = log_set_probability(log_s, Y.float(), hard=True)
    double = log_set_probability(log_s.double(), Y, hard=True)
    torch.testing.assert_close(single, double, rtol=1e-6, atol=1e-6)


def test_empty_subsets_and_an_empty_rest_count_nothing() -> None:
    log_s = torch.randn(4, dtype=torch.float64)
    Y = torch.zeros(5, 4, dtype=torch.float64)
    Y[2] = 1
    assert log_set_probability(log_s, Y, hard=True).item() == 0.0


def test_many_elements_against_more_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    log_s, Y = 3 * torch.randn(2000, dtype=torch.float64), random_partition(5, 2000)
    result = log_set_probability(log_s, Y, hard=True)
    fine = set_probability._Quadrature(nodes=1000, drop=60.0)
    monkeypatch.setitem(set_probability._QUADRATURE, torch.float64, fine)
    reference = log_set_probability(log_s, Y, hard=True)
    torch.testing.assert_close(result, reference, rtol=1e-13, atol=0)


@pytest.mark.parametrize("members", [1, 25, 49])
@pytest.mark.parametrize("spread", [0.0, 1.0, 10.0, 40.0])
@pytest.mark.parametrize("highest", [True, False])
@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-6), (torch.float64, 2e-12)])
def test_nodes_suffice_for_the_precision_of_the_dtype(
    members: int,
    spread: float,
    highest: bool,
    dtype: torch.dtype,
    error: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    # Scores that float32 can hold, in float64, so that nothing but the nodes makes a difference.
    log_s = (spread * torch.randn(50)).double().sort(descending=highest).values
    Y = torch.nn.functional.one_hot((torch.arange(50) >= members).long(), 2).mT.double()
    fine = set_probability._Quadrature(nodes=1000, drop=60.0)
    coarse = set_probability._QUADRATURE[dtype]
    results = []
    for quadrature in (coarse, fine):
        monkeypatch.setitem(set_probability._QUADRATURE, torch.float64, quadrature)
        results.append(log_set_probability(log_s, Y, hard=True))
    round_off = 1e-14 * results[1].abs().item()
    torch.testing.assert_close(*results, rtol=0, atol=error + round_off)


@pytest.mark.parametrize("num_subsets", [2, 3])
def test_chunks_agree_with_the_whole(num_subsets: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    log_s = torch.randn(4, 30, dtype=torch.float64, requires_grad=True)
    Y = torch.stack([random_partition(num_subsets, 30) for _ in range(4)]).requires_grad_()
    whole = log_set_probability(log_s, Y, hard=True)
    whole_grads = torch.autograd.grad(whole.sum(), (log_s, Y))
    monkeypatch.setattr(set_probability, "_CHUNK", 100)
    chunked = log_set_probability(log_s, Y, hard=True)
    torch.testing.assert_close(chunked, whole)
    torch.testing.assert_close(torch.autograd.grad(chunked.sum(), (log_s, Y)), whole_grads)


@pytest.mark.parametrize("hard", [True, False])
def test_derivatives_in_the_scores(hard: bool) -> None:
    torch.manual_seed(0)
    log_s = torch.randn(2, 5, dtype=torch.float64, requires_grad=True)
    Y = torch.stack([random_partition(3, 5) for _ in range(2)])

    def log_probability(x: torch.Tensor) -> torch.Tensor:
        return log_set_probability(x, Y, hard=hard)

    assert torch.autograd.gradcheck(log_probability, log_s)
    assert torch.autograd.gradgradcheck(log_probability, log_s)


def test_derivatives_between_partitions() -> None:
    torch.manual_seed(0)
    log_s = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    Y = torch.rand(2, 3, 4, dtype=torch.float64).requires_grad_()

    def log_probability(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return log_set_probability(x, y, hard=False)

    assert torch.autograd.gradcheck(log_probability, (log_s, Y))
    assert torch.autograd.gradgradcheck(log_probability, (log_s, Y))


def test_the_hard_path_has_the_same_gradients_as_the_general_one() -> None:
    torch.manual_seed(0)
    log_s = torch.randn(6, dtype=torch.float64, requires_grad=True)
    Y = random_partition(3, 6).requires_grad_()
    hard, soft = (
        torch.autograd.grad(log_set_probability(log_s, Y, hard=hard), (log_s, Y))
        for hard in (True, False)
    )
    torch.testing.assert_close(hard, soft)
