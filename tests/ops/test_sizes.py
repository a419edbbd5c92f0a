# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

import torch

from pyro_drpm.ops.noise import gumbel
from pyro_drpm.ops.size_law import size_law
from pyro_drpm.ops.sizes import boundary_moves, perturbed_sizes, relaxed_boundaries, sample_sizes
from tests.oracles import log_size_probabilities


def quadratic(inside: torch.Tensor, matrix: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
    flat = inside.flatten(-2)
    return ((flat @ matrix) * flat).sum(-1) + flat @ vector


def test_moves_give_the_exact_gradient_of_quadratics_without_sampling() -> None:
    """Expected straight-through gradient, by enumeration, against the gradient of the mean."""
    torch.manual_seed(0)
    for n, num_subsets, top in [(4, 3, 4), (5, 4, 5), (6, 4, 3), (7, 2, 7), (3, 5, 2)]:
        m = torch.full((num_subsets,), top)
        log_omega = torch.randn(num_subsets, dtype=torch.float64, requires_grad=True)
        size = (num_subsets - 1) * n
        matrix, vector = torch.randn(size, size).double(), torch.randn(size).double()
        law = size_law(log_omega, m, n)
        masses = log_size_probabilities(log_omega, m, n)
        counts = torch.tensor(list(masses))
        prob = torch.tensor(list(masses.values()), dtype=torch.float64).exp()

        boundaries = counts[:, :-1].cumsum(-1).unsqueeze(-1)
        rank = torch.arange(n)
        inside = (rank < boundaries).double().requires_grad_()
        value = quadratic(inside, matrix, vector)
        (slope,) = torch.autograd.grad(value.sum(), inside)
        up, down = boundary_moves(law, counts)
        slope = torch.nn.functional.pad(slope, (1, 1))
        surrogate = (
            up * slope.gather(-1, boundaries + 1).squeeze(-1)
            + down * slope.gather(-1, boundaries).squeeze(-1)
        ).sum(-1)
        (estimate,) = torch.autograd.grad((prob * surrogate).sum(), log_omega)

        mean = (prob[:, None] * counts).sum(0)
        exact = (prob[:, None] * (counts - mean) * value.detach()[:, None]).sum(0)
        torch.testing.assert_close(estimate, exact, rtol=1e-9, atol=1e-10)


def test_moves_are_zero_valued() -> None:
    log_omega = torch.randn(3, requires_grad=True)
    law = size_law(log_omega, torch.tensor([9, 9, 9]), 9)
    counts = sample_sizes(law, torch.Size((50,)))
    for move in boundary_moves(law, counts):
        assert (move == 0).all()


def test_modes_of_the_conditionals_need_no_noise() -> None:
    log_omega = torch.tensor([0.0, 5.0, 1.0], dtype=torch.float64)
    law = size_law(log_omega, torch.tensor([6, 6, 6]), 6)
    counts = perturbed_sizes(law, None, torch.Size())
    remaining = 6
    for k, count in enumerate(counts[:-1].tolist()):
        prob = law.conditional(k, torch.tensor(remaining))
        assert count == prob.argmax().item()
        remaining -= count
    assert counts[-1] == remaining


def test_relaxed_boundaries_harden_and_are_ordered() -> None:
    torch.manual_seed(0)
    law = size_law(torch.randn(4), torch.full((4,), 8), 8)
    shape = torch.Size((100,))
    noise = gumbel(shape + (3, 9), law.mass.device)
    counts = perturbed_sizes(law, noise, shape)
    hard = (torch.arange(8) < counts[:, :-1].cumsum(-1).unsqueeze(-1)).double()
    cold = relaxed_boundaries(law, counts, noise, 1e-3)
    torch.testing.assert_close((cold - hard).abs().median(), torch.tensor(0.0).double())
    assert (cold - hard).abs().mean() < 1e-3
    warm = relaxed_boundaries(law, counts, noise, 1.0)
    assert warm.min() >= -1e-12 and warm.max() <= 1 + 1e-12
    assert (warm.diff(dim=-1) <= 1e-12).all(), "survival functions fall with the rank"
    assert (warm.diff(dim=-2) >= -1e-12).all(), "boundaries grow with the subset"
