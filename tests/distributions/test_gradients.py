# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Gradients of expectations against enumeration.

``pytest -s tests/distributions/test_gradients.py`` prints the comparison that the README quotes.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from pyro_drpm import DRPM

CASES = 24
DRAWS = 20_000


class Case(NamedTuple):
    """A partition with parameters to differentiate and a quadratic function of it."""

    log_omega: Tensor
    log_s: Tensor
    matrix: Tensor
    vector: Tensor

    def partition(self, gradient: Literal["flow", "relaxed"] = "flow") -> DRPM:
        return DRPM(log_omega=self.log_omega, log_s=self.log_s, temperature=0.5, gradient=gradient)

    def f(self, Y: Tensor) -> Tensor:
        flat = Y.flatten(-2)
        return ((flat @ self.matrix) * flat).sum(-1) + flat @ self.vector

    def gradient(self, objective: Tensor) -> tuple[Tensor, Tensor]:
        of_omega, of_s = torch.autograd.grad(objective, (self.log_omega, self.log_s))
        return of_omega, of_s

    def exact_gradient(self) -> tuple[Tensor, Tensor]:
        partition = self.partition()
        support = partition.enumerate_support()
        return self.gradient((partition.log_prob(support).exp() * self.f(support)).sum())


def random_case(seed: int) -> Case:
    torch.manual_seed(seed)
    n, num_subsets = 4 + seed % 3, 2 + seed // 3 % 3
    size = num_subsets * n
    return Case(
        torch.randn(num_subsets, dtype=torch.float64, requires_grad=True),
        torch.randn(n, dtype=torch.float64, requires_grad=True),
        torch.randn(size, size, dtype=torch.float64),
        torch.randn(size, dtype=torch.float64),
    )


def cosine_and_ratio(estimate: Tensor, exact: Tensor) -> tuple[float, float]:
    cosine = torch.nn.functional.cosine_similarity(estimate, exact, dim=0)
    return cosine.item(), (estimate.norm() / exact.norm()).item()


def compare(gradient: Literal["flow", "relaxed"]) -> dict[str, Tensor]:
    """Cosine and norm ratio of every case, shape ``(cases, 2)``, for omega and s."""
    rows: dict[str, list[tuple[float, float]]] = {"omega": [], "s": []}
    for seed in range(CASES):
        case = random_case(seed)
        exact = case.exact_gradient()
        estimate = case.gradient(case.f(case.partition(gradient).rsample((DRAWS,))).mean())
        for name, e, x in zip(rows, estimate, exact, strict=True):
            rows[name].append(cosine_and_ratio(e, x))
    for name, values in rows.items():
        cosine, ratio = torch.tensor(values).unbind(-1)
        print(
            f"\n{gradient}, {name}: cosine median {cosine.median():.4f}, worst {cosine.min():.4f}; "
            f"norm ratio median {ratio.median():.3f}, from {ratio.min():.3f} to {ratio.max():.3f} "
            f"({CASES} cases, {DRAWS} draws each)"
        )
    return {name: torch.tensor(values) for name, values in rows.items()}


def test_straight_through_gradient_against_enumeration() -> None:
    for values in compare("flow").values():
        cosine, ratio = values.unbind(-1)
        assert cosine.median() >= 0.99
        assert cosine.min() >= 0.95
        assert (ratio.median() - 1).abs() < 0.02


def test_relaxed_straight_through_gradient_against_enumeration() -> None:
    for values in compare("relaxed").values():
        cosine, _ = values.unbind(-1)
        assert cosine.median() >= 0.95
        assert cosine.min() >= 0.7


def test_flow_gradients_of_quadratics_have_no_bias() -> None:
    """Means over draws lie within the standard errors of the exact gradients."""
    scores = []
    for seed in range(CASES):
        case = random_case(seed)
        exact = torch.cat(case.exact_gradient())
        copies = case._replace(
            log_omega=case.log_omega.detach().expand(DRAWS, -1).clone().requires_grad_(),
            log_s=case.log_s.detach().expand(DRAWS, -1).clone().requires_grad_(),
        )
        draws = copies.gradient(copies.f(copies.partition().rsample()).sum())
        each = torch.cat(draws, -1)
        scores.append((each.mean(0) - exact) / (each.std(0) / DRAWS**0.5))
    z = torch.cat(scores)
    assert z.abs().max() < 4.5
    assert 0.8 < z.std() < 1.2, "the scores of an unbiased estimate are standard normal"


def test_score_function_gradient_converges_to_the_exact_one() -> None:
    for seed in (4, 8):
        case = random_case(seed)
        partition = case.partition().has_rsample_(False)
        support = partition.enumerate_support()
        # The mean over draws, with equal draws taken together.
        labels = partition.sample((400_000,)).argmax(-2)
        place = len(case.log_omega) ** torch.arange(len(case.log_s) - 1, -1, -1)
        frequency = ((labels * place).sum(-1).bincount(minlength=len(support))) / len(labels)
        value = case.f(support)
        baseline = (frequency * value).sum()
        log_prob = partition.log_prob(support)
        estimate = case.gradient((frequency * log_prob * (value - baseline)).sum())
        for e, x in zip(estimate, case.exact_gradient(), strict=True):
            assert (e - x).norm() / x.norm() < 0.05


def test_the_partition_without_noise_carries_gradients_that_improve_the_objective() -> None:
    """A deterministic partition, section 5.3 of the paper: following the gradient helps."""
    case = random_case(5)
    start = case.f(case.partition().noiseless).item()
    optimiser = torch.optim.Adam([case.log_omega, case.log_s], lr=0.05)
    for _ in range(200):
        optimiser.zero_grad()
        case.f(case.partition().noiseless).backward()
        optimiser.step()
    assert case.f(case.partition().noiseless).item() < start


def test_relaxed_scores_do_not_depend_on_whether_sizes_are_trained() -> None:
    """Where they are not, nothing is computed for their gradient."""
    case = random_case(4)

    def gradient_of_scores(log_omega: Tensor) -> Tensor:
        partition = DRPM(log_omega=log_omega, log_s=case.log_s, gradient="relaxed")
        torch.manual_seed(0)
        (gradient,) = torch.autograd.grad(case.f(partition.rsample((5,))).sum(), case.log_s)
        return gradient

    expected = gradient_of_scores(case.log_omega)
    assert (expected != 0).any()
    assert gradient_of_scores(case.log_omega.detach()).equal(expected)
