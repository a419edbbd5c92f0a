# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

r"""Losses between partitions of the same items.

With the sizes :math:`n_s` of the subsets of a partition :math:`c`, :math:`m_t` of those of an
estimate :math:`\hat c` and :math:`n_{st}` of their intersections, all losses but one are

.. math::
    L(c, \hat c) = N^{-1} \Big[ a \sum_s \varphi(n_s) + (2 - a) \sum_t \varphi(m_t)
    - 2 \sum_{st} \varphi(n_{st}) \Big],

with :math:`\varphi(x) = x^2` and :math:`N = n^2` for Binder's loss, the share of ordered pairs that
lie together in one partition and apart in the other, and :math:`\varphi(x) = x \log_2 x`,
:math:`N = n` for the variation of information :math:`H(\hat c | c) + H(c | \hat c)` in bits. The
weight :math:`a` in (0, 2) is that of subsets of :math:`c` which the estimate divides, :math:`2 - a`
that of subsets which it unites; both losses are metrics at :math:`a = 1`.

Others are functions of the same three sums. With the entropies :math:`H = H(c)`,
:math:`\hat H = H(\hat c)` and :math:`H_\cap` of the intersections, and the mutual information
:math:`I = H + \hat H - H_\cap`, all in bits:

- ``"nvi"``, normalised variation of information: :math:`1 - I / H_\cap`;
- ``"id"``, information distance: :math:`\max(H, \hat H) - I`;
- ``"nid"``, the same normalised: :math:`1 - I / \max(H, \hat H)`;
- ``"omari"``: one minus the adjusted Rand index.

Normalised ones are 0 where both partitions have one subset.

``"vi_lb"`` stands for the expected variation of information with Jensen's inequality applied to
either logarithm, for which the similarity matrix :math:`p` suffices:

.. math::
    n^{-1} \sum_i \Big[ (2 - a) \log_2 m_i + a \log_2 \sum_j p_{ij}
    - 2 \log_2 \sum_j p_{ij} 1(\hat c_i = \hat c_j) \Big],

:math:`m_i` the size of the subset that holds item :math:`i`.

References:
    Binder, D. A.: Bayesian cluster analysis. Biometrika 65(1), 1978.
    Meila, M.: Comparing clusterings: an information based distance. Journal of Multivariate
    Analysis 98(5), 2007.
    Wade, S., Ghahramani, Z.: Bayesian cluster analysis: point estimation and credible balls.
    Bayesian Analysis 13(2), 2018.
    Hubert, L., Arabie, P.: Comparing partitions. Journal of Classification 2, 1985.
    Vinh, N. X., Epps, J., Bailey, J.: Information theoretic measures for clusterings comparison.
    Journal of Machine Learning Research 11, 2010.
    Dahl, D. B., Johnson, D. J., Müller, P.: Search algorithms and loss functions for Bayesian
    clustering. Journal of Computational and Graphical Statistics 31(4), 2022.
"""

from __future__ import annotations

import math
from typing import get_args

import torch
from torch import Tensor

from pyro_drpm.partitions.labels import as_draws, as_labels, canonical
from pyro_drpm.partitions.rows import count_subsets, indicator_rows, number_rows, subset_sizes
from pyro_drpm.partitions.similarity import similarity_matrix
from pyro_drpm.types import Loss, PairLoss, Partitions

__all__ = [
    "Loss",
    "PairLoss",
    "RATIOS",
    "check_loss",
    "expected_loss",
    "loss_of_sums",
    "partition_loss",
    "phi",
    "similarity_to_own",
    "sum_over_subsets",
]


# Items of all pairs of an estimate and a draw that are counted at a time.
RATIOS = ("omari", "nvi", "id", "nid")
"""Losses that are not linear in the sums."""

_CHUNK = 1 << 18
_SMALL = 1e-12


def partition_loss(
    labels: Partitions, estimate: Partitions, loss: PairLoss = "vi", a: float = 1.0
) -> Tensor:
    """Loss of an estimate where the partition is another.

    Args:
        labels: The partitions, integers of shape ``(*batch, n)``, or one-hot matrices
            ``(*batch, K, n)`` of floating point numbers or booleans.
        estimate: The estimates, likewise; batch shapes broadcast.
        loss: Any but ``"vi_lb"``.
        a: Weight of subsets that the estimate divides, for ``"binder"`` and ``"vi"``.

    Returns:
        Shape ``(*batch,)``, float64.

    Raises:
        ValueError: As :func:`~pyro_drpm.partitions.as_labels`, or if there is no such loss, or
            ``a`` is not in (0, 2).

    Example:
        >>> partition_loss([0, 0, 1, 1], [0, 0, 0, 0], loss="vi")
        tensor(1., dtype=torch.float64)
        >>> partition_loss([0, 0, 1, 1], [0, 0, 0, 0], loss="binder")
        tensor(0.5000, dtype=torch.float64)
    """
    check_loss(loss, a, get_args(PairLoss))
    truth = as_labels(labels)
    n = truth.shape[-1]
    guess = as_labels(estimate, n).to(truth.device)
    truth, guess = torch.broadcast_tensors(canonical(truth), canonical(guess))
    values = phi(torch.arange(n + 1, device=truth.device), loss)
    joint = canonical(truth * n + guess)
    of_truth, of_guess, both = (sum_over_subsets(values, x) for x in (truth, guess, joint))
    return loss_of_sums(of_truth, of_guess, both, n, loss, a)


def expected_loss(
    draws: Partitions, estimate: Partitions, loss: Loss = "vi", a: float = 1.0
) -> Tensor:
    """Mean loss of an estimate over draws of the partition.

    Args:
        draws: Labels ``(draws, n)`` or one-hot matrices ``(draws, K, n)``.
        estimate: One or more estimates, integers of shape ``(*batch, n)``, or one-hot matrices
            ``(*batch, K, n)`` of floating point numbers or booleans.
        loss: Which of the module's.
        a: Weight of subsets that the estimate divides, for ``"binder"``, ``"vi"`` and ``"vi_lb"``.

    Returns:
        Shape ``(*batch,)``, float64.

    Raises:
        ValueError: As :func:`~pyro_drpm.partitions.as_labels` and
            :func:`~pyro_drpm.partitions.as_draws`, or if there is no such loss, or ``a`` is not in
            (0, 2).

    Example:
        >>> draws = [[0, 0, 1, 1], [0, 0, 0, 0]]
        >>> expected_loss(draws, [[0, 0, 1, 1], [0, 0, 0, 1]], loss="binder")
        tensor([0.2500, 0.3750], dtype=torch.float64)
    """
    check_loss(loss, a, get_args(Loss))
    drawn = canonical(as_draws(draws))
    n = drawn.shape[-1]
    estimates = canonical(as_labels(estimate, n).to(drawn.device))
    flat = estimates.reshape(-1, n)
    losses = _lower_bound(drawn, flat, a) if loss == "vi_lb" else _mean_loss(drawn, flat, loss, a)
    return losses.view(estimates.shape[:-1])


def check_loss(loss: str, a: float, losses: tuple[str, ...]) -> None:
    """Raise :class:`ValueError` if there is no such loss or weight."""
    if loss not in losses:
        raise ValueError(f"expected loss to be one of {', '.join(losses)}, but got {loss!r}")
    if not 0 < a < 2:
        raise ValueError(f"expected a weight a between 0 and 2, but got {a}")
    if a != 1 and loss in RATIOS:
        raise ValueError(f"expected a = 1 for the loss {loss!r}, which has no weights, but got {a}")


def _mean_loss(drawn: Tensor, estimates: Tensor, loss: PairLoss, a: float) -> Tensor:
    """Mean over the draws ``(D, n)`` for each estimate ``(B, n)``."""
    if loss in RATIOS:
        parts = estimates.split(max(1, _CHUNK // drawn.numel()))
        means = [partition_loss(drawn, part.unsqueeze(1), loss).mean(-1) for part in parts]
        return torch.cat(means)
    n = drawn.shape[-1]
    values = phi(torch.arange(n + 1, device=drawn.device), loss)
    of_draws, of_estimates = (sum_over_subsets(values, x) for x in (drawn, estimates))
    joint = _mean_over_intersections(values, drawn, estimates)
    return loss_of_sums(of_draws.mean(), of_estimates, joint, n, loss, a)


def loss_of_sums(
    truth: Tensor, estimate: Tensor, joint: Tensor, n: int, loss: PairLoss, a: float = 1.0
) -> Tensor:
    """The loss, from sums of :func:`phi` over subsets and intersections; shapes broadcast."""
    if loss not in RATIOS:
        total = a * truth + (2 - a) * estimate - 2 * joint
        return total / (n * n if loss == "binder" else n)
    if loss == "omari":
        pairs = max(n * (n - 1) / 2, 1)
        first, second, both = ((x - n) / 2 for x in (truth, estimate, joint))
        by_chance, most = first * second / pairs, (first + second) / 2
        return _ratio(most - both, most - by_chance)
    first, second, both = (math.log2(n) - x / n for x in (truth, estimate, joint))
    if loss == "nvi":
        return _ratio(2 * both - first - second, both)
    distance = both - torch.minimum(first, second)
    return distance if loss == "id" else _ratio(distance, torch.maximum(first, second))


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """0 where both are, but for round-off."""
    is_zero = whole.abs() < _SMALL
    return torch.where(is_zero, 0.0, part / torch.where(is_zero, 1.0, whole))


def sum_over_subsets(values: Tensor, labels: Tensor) -> Tensor:
    """Sum of a function of the sizes, given by its values at 0 to n."""
    return values[subset_sizes(labels)].sum(-1)


def _mean_over_intersections(values: Tensor, drawn: Tensor, estimates: Tensor) -> Tensor:
    """The same of all intersections with the subsets of a draw, in the mean over draws."""
    num_draws, n = drawn.shape
    step = max(1, _CHUNK // n)
    parts = [(rows, int(rows.max()) + 1) for rows in map(number_rows, drawn.split(step))]
    sums = []
    for batch in estimates.split(max(1, step // num_draws)):
        number = count_subsets(batch)
        num_slots, slots = int(number.sum()), number_rows(batch).unsqueeze(-2)
        of_slots = values.new_zeros(num_slots)
        for rows, num_rows in parts:
            cells = (slots * num_rows + rows).flatten()
            joint = cells.bincount(minlength=num_slots * num_rows).view(num_slots, num_rows)
            of_slots += values[joint].sum(-1)
        owner = torch.arange(len(batch), device=number.device).repeat_interleave(number)
        sums.append(values.new_zeros(len(batch)).index_add_(0, owner, of_slots))
    return torch.cat(sums) / num_draws


def phi(x: Tensor, loss: PairLoss) -> Tensor:
    """The module's function of a size, float64."""
    x = x.double()
    return x * x if loss in ("binder", "omari") else x * x.clamp(min=1).log2()


def similarity_to_own(similarity: Tensor, labels: Tensor) -> Tensor:
    """Sum of the similarities of each item with the items of its subset.

    Args:
        similarity: Shape ``(n, n)``.
        labels: Integers from 0, shape ``(B, n)``.
    """
    sums = [
        (members.to(similarity) @ similarity).gather(0, rows)
        for rows, members in indicator_rows(labels)
    ]
    return torch.cat(sums)


def _lower_bound(drawn: Tensor, estimates: Tensor, a: float) -> Tensor:
    """The bound of each estimate ``(B, n)``."""
    similarity = similarity_matrix(drawn)
    sizes = subset_sizes(estimates).gather(-1, estimates).double()
    own = similarity_to_own(similarity, estimates)
    terms = (2 - a) * sizes.log2() + a * similarity.sum(-1).log2() - 2 * own.log2()
    return terms.mean(-1)
