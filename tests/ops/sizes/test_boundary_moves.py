# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

import torch

from pyro_drpm.ops.sizes.boundary_moves import boundary_flow, boundary_moves
from pyro_drpm.ops.sizes.draws import sample_sizes
from pyro_drpm.ops.sizes.fisher import fisher_tables
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
        law = fisher_tables(log_omega, m, n)
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


def test_differences_give_the_exact_gradient_of_any_function() -> None:
    """Of parts with an arbitrary value for every place of both boundaries of a subset."""
    torch.manual_seed(0)
    for n, num_subsets, top in [(4, 3, 4), (5, 4, 5), (6, 4, 3), (7, 2, 7), (3, 5, 2), (3, 1, 3)]:
        m = torch.full((num_subsets,), top)
        log_omega = torch.randn(num_subsets, dtype=torch.float64, requires_grad=True)
        law = fisher_tables(log_omega, m, n)
        masses = log_size_probabilities(log_omega, m, n)
        counts = torch.tensor(list(masses))
        prob = torch.tensor(list(masses.values()), dtype=torch.float64).exp()
        tables = torch.randn(num_subsets, n + 3, n + 3, dtype=torch.float64)
        end = counts.cumsum(-1) + 1
        start = end - counts
        k = torch.arange(num_subsets)
        parts = tables[k, start, end]
        steps = [(0, 1), (1, 0), (1, 1)]
        moves = torch.stack(
            [
                torch.stack([tables[k, start + i * sign, end + j * sign] - parts for i, j in steps])
                for sign in (1, -1)
            ]
        )
        flow = boundary_flow(law, counts, moves)
        assert (flow == 0).all()
        if num_subsets == 1:
            continue
        (estimate,) = torch.autograd.grad((prob * flow).sum(), log_omega)
        mean = (prob[:, None] * counts).sum(0)
        exact = (prob[:, None] * (counts - mean) * parts.sum(-1)[:, None]).sum(0)
        torch.testing.assert_close(estimate, exact, rtol=1e-9, atol=1e-10)


def test_moves_are_zero_valued() -> None:
    log_omega = torch.randn(3, requires_grad=True)
    law = fisher_tables(log_omega, torch.tensor([9, 9, 9]), 9)
    counts = sample_sizes(law, torch.Size((50,)))
    for move in boundary_moves(law, counts):
        assert (move == 0).all()


def test_draws_that_share_their_tables() -> None:
    """Gradients add up over draws, and batches keep to themselves."""
    torch.manual_seed(0)
    log_omega = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    capacities = torch.tensor([3, 9, 9, 2])
    law = fisher_tables(log_omega, capacities, 9)
    counts = sample_sizes(law, torch.Size((5, 2)))
    weights = torch.randn(2, 5, 2, 3, dtype=torch.float64)
    loss = sum(
        (w * move).sum() for w, move in zip(weights, boundary_moves(law, counts), strict=True)
    )
    (together,) = torch.autograd.grad(loss, log_omega)
    apart = torch.zeros_like(log_omega)
    for i in range(5):
        for b in range(2):
            single = fisher_tables(log_omega[b], capacities, 9)
            up, down = boundary_moves(single, counts[i, b])
            loss = (weights[0, i, b] * up).sum() + (weights[1, i, b] * down).sum()
            apart += torch.autograd.grad(loss, log_omega)[0]
    torch.testing.assert_close(together, apart)


def test_changes_of_draws_that_share_their_counts() -> None:
    """Gradients add up over the changes, as many as there are."""
    torch.manual_seed(0)
    log_omega = torch.randn(3, dtype=torch.float64, requires_grad=True)
    law = fisher_tables(log_omega, torch.tensor([6, 6, 6]), 6)
    counts = torch.tensor([2, 1, 3])
    changes = torch.randn(2, 3, 2, 4, 3, dtype=torch.float64)
    together = boundary_flow(law, counts, changes)
    each = boundary_flow(law, counts.expand(2, 4, 3), changes)
    assert together.shape == each.shape == (2, 4)
    gradients = [
        torch.autograd.grad(flow.sum(), log_omega, retain_graph=True)[0]
        for flow in (together, each)
    ]
    torch.testing.assert_close(gradients[0], gradients[1])
    assert gradients[0].abs().sum() > 0
