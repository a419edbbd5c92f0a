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
    Dahl, D. B., Johnson, D. J., Müller, P.: Search algorithms and loss functions for Bayesian
    clustering. Journal of Computational and Graphical Statistics 31(4), 2022.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_drpm.partitions.labels import Partitions, as_draws, as_labels, compact
from pyro_drpm.partitions.similarity import similarity_matrix

__all__ = [
    "Loss",
    "PairLoss",
    "check_loss",
    "expected_loss",
    "partition_loss",
    "phi",
    "similarity_to_own",
]

PairLoss = Literal["binder", "vi"]
Loss = Literal["binder", "vi", "vi_lb"]

# Entries of contingency tables that are held at a time.
_CHUNK = 1 << 23


def partition_loss(
    labels: Partitions, estimate: Partitions, loss: PairLoss = "vi", a: float = 1.0
) -> Tensor:
    """Loss of an estimate where the partition is another.

    Args:
        labels: The partitions, integers of shape ``(*batch, n)``.
        estimate: The estimates, shape ``(*batch, n)``; batch shapes broadcast.
        loss: ``"binder"`` or ``"vi"``.
        a: Weight of subsets that the estimate divides.

    Returns:
        Shape ``(*batch,)``, float64.

    Raises:
        ValueError: If labels are not integers or differ in length, there is no such loss, or
            ``a`` is not in (0, 2).

    Example:
        >>> partition_loss([0, 0, 1, 1], [0, 0, 0, 0], loss="vi")
        tensor(1., dtype=torch.float64)
        >>> partition_loss([0, 0, 1, 1], [0, 0, 0, 0], loss="binder")
        tensor(0.5000, dtype=torch.float64)
    """
    check_loss(loss, a, get_args(PairLoss))
    truth = as_labels(labels)
    guess = as_labels(estimate, truth.shape[-1])
    truth, guess = torch.broadcast_tensors(truth, guess)
    first, second = (_members(compact(part)) for part in (truth, guess))
    return _loss(first.sum(-1), second.sum(-1), first @ second.mT, loss, a)


def expected_loss(
    labels: Partitions, draws: Partitions, loss: Loss = "vi", a: float = 1.0
) -> Tensor:
    """Mean loss of an estimate over draws of the partition.

    Args:
        labels: The estimates, integers of shape ``(*batch, n)``.
        draws: Labels ``(draws, n)`` or one-hot matrices ``(draws, K, n)``.
        loss: ``"binder"``, ``"vi"`` or ``"vi_lb"``.
        a: Weight of subsets that the estimate divides.

    Returns:
        Shape ``(*batch,)``, float64.

    Raises:
        ValueError: If labels are not integers or differ in length, there are no draws, there is no
            such loss, or ``a`` is not in (0, 2).

    Example:
        >>> draws = [[0, 0, 1, 1], [0, 0, 0, 0]]
        >>> expected_loss([[0, 0, 1, 1], [0, 0, 0, 1]], draws, loss="binder")
        tensor([0.2500, 0.3750], dtype=torch.float64)
    """
    check_loss(loss, a, get_args(Loss))
    drawn = compact(as_draws(draws))
    estimates = compact(as_labels(labels, drawn.shape[-1]).to(drawn.device))
    flat, num_subsets = estimates.reshape(-1, drawn.shape[-1]), int(estimates.max()) + 1
    if loss == "vi_lb":
        similarity = similarity_matrix(drawn)
        step = max(1, _CHUNK // (drawn.shape[-1] * num_subsets))
        losses = [_lower_bound(similarity, part, a) for part in flat.split(step)]
    else:
        truth = _members(drawn)  # (D, S, n)
        step = max(1, _CHUNK // (truth[..., 0].numel() * num_subsets))
        losses = [_mean_loss(truth, part, loss, a) for part in flat.split(step)]
    return torch.cat(losses).view(estimates.shape[:-1])


def check_loss(loss: str, a: float, losses: tuple[str, ...]) -> None:
    """Raise :class:`ValueError` if there is no such loss or weight."""
    if loss not in losses:
        raise ValueError(f"expected loss to be one of {', '.join(losses)}, but got {loss!r}")
    if not 0 < a < 2:
        raise ValueError(f"expected a weight a between 0 and 2, but got {a}")


def _members(labels: Tensor) -> Tensor:
    """Indicators of the subsets, shape ``(*batch, K, n)``; float32 counts are exact."""
    return F.one_hot(labels).float().mT


def _mean_loss(truth: Tensor, estimates: Tensor, loss: PairLoss, a: float) -> Tensor:
    """Mean over the draws ``(D, S, n)`` for each estimate ``(B, n)``."""
    num_draws, num_subsets, n = truth.shape
    guess = _members(estimates)
    joint = guess.flatten(0, 1) @ truth.flatten(0, 1).mT
    joint = joint.view(*guess.shape[:2], num_draws, num_subsets).transpose(1, 2)
    sizes = guess.sum(-1).unsqueeze(1)
    return _loss(truth.sum(-1), sizes, joint, loss, a).mean(-1)


def _loss(truth: Tensor, guess: Tensor, joint: Tensor, loss: PairLoss, a: float) -> Tensor:
    """The module's formula from sizes ``(*, S)``, ``(*, T)`` and all intersections."""
    n = truth.sum(-1).double()
    total = (
        a * phi(truth, loss).sum(-1)
        + (2 - a) * phi(guess, loss).sum(-1)
        - 2 * phi(joint, loss).sum((-1, -2))
    )
    return total / (n * n if loss == "binder" else n)


def phi(x: Tensor, loss: PairLoss) -> Tensor:
    """The module's function of a size, float64."""
    x = x.double()
    return x * x if loss == "binder" else x * x.clamp(min=1).log2()


def similarity_to_own(similarity: Tensor, labels: Tensor) -> Tensor:
    """Sum of the similarities of each item with the items of its subset.

    Args:
        similarity: Shape ``(n, n)``.
        labels: Integers from 0, shape ``(B, n)``.
    """
    sums = similarity @ F.one_hot(labels).to(similarity)  # with every subset, (B, n, K)
    return sums.gather(-1, labels.unsqueeze(-1)).squeeze(-1)


def _lower_bound(similarity: Tensor, labels: Tensor, a: float) -> Tensor:
    """The bound of each estimate ``(B, n)``."""
    sizes = F.one_hot(labels).sum(-2).gather(-1, labels).double()
    own = similarity_to_own(similarity, labels)
    terms = (2 - a) * sizes.log2() + a * similarity.sum(-1).log2() - 2 * own.log2()
    return terms.mean(-1)
