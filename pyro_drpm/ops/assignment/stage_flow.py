# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

r"""Partitions drawn stage by stage, with the gradients of the law that they were drawn from.

At stage :math:`k` the subset takes the elements with the highest perturbed scores :math:`z_{ki} =
a_{ki} + G_{ki}` among those that are left. A score :math:`z_{ki}` matters only where it passes the
edge of the stage: an element inside leaves when it falls below the first outside, :math:`z_-`, and
one outside enters when it rises above the last inside, :math:`z_+`. The two change places, and the
later stages go on with the same scores, one element missing and another one more: at each of them
either nothing changes, or one element is displaced by the other, or a free place is taken. With
:math:`F` and :math:`\varphi` the standard Gumbel distribution function and density

.. math::
    \frac{\partial}{\partial a_{ki}} E f(Y) = E \, \varphi(t - a_{ki}) \, [f(Y^{in}) - f(Y^{out})] ,

with :math:`t` the edge that all other scores make, for any :math:`f`. One of both partitions is the
one that was drawn. A backward pass knows :math:`\nabla f(Y)` and not :math:`f`, and counts half of
the flow from each side, as in :mod:`pyro_drpm.ops.assignment.exchanges`: with the weights
:math:`\varphi / (2 (1 - F))` inside and :math:`\varphi / (2 F)` outside. That is exact for
quadratic :math:`f`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyro_drpm.ops.labels import matrix_of
from pyro_drpm.ops.overrides import overridable

__all__ = ["StagedDraw", "staged_partition"]

_MAX_LOG = 690.0


class StagedDraw(NamedTuple):
    """What a partition is drawn from.

    Attributes:
        score: Perturbed log-scores of all stages but the last, which has no choice, shape
            ``(*batch, K - 1, n)``, float64.
        subset: The subset of each element, shape ``(*batch, n)``.
    """

    score: Tensor
    subset: Tensor


def staged_partition(log_s: Tensor, draw: StagedDraw) -> Tensor:
    """A partition with gradients for its scores.

    Args:
        log_s: Log-scores, shape ``(*batch, K, n)``; their dtype is that of the result.
        draw: What was drawn; not differentiated.

    Returns:
        Entries 0 and 1, shape ``(*batch, K, n)``. Once differentiable.
    """
    return _partition_by_stages(log_s, *draw)


@overridable
def _partition_by_stages(log_s: Tensor, *of_draw: Tensor) -> Tensor:
    result: Tensor = _PartitionByStages.apply(log_s, *of_draw)
    return result


class _PartitionByStages(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(log_s: Tensor, score: Tensor, subset: Tensor) -> Tensor:
        return matrix_of(subset, log_s.shape[-2], log_s.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        log_s, *of_draw = ctx.saved_tensors
        neighbors = _Neighbors(grads[0].double(), StagedDraw(*of_draw))
        return neighbors.score_gradient(log_s.double()).to(log_s.dtype), None, None


class _Change(NamedTuple):
    """A change of the partition that later stages have to follow, of shape ``(*batch, m)`` each.

    Attributes:
        value: By how much a linear function has changed so far.
        spare: The element that later stages have more.
        missing: The element that they do not have.
        is_open: Whether there are such.
    """

    value: Tensor
    spare: Tensor
    missing: Tensor
    is_open: Tensor


class _Neighbors:
    """Changes of a linear function between a draw and its neighbors.

    Args:
        grad: The gradient of the function, shape ``(*batch, K, n)``.
        draw: The draw.
    """

    def __init__(self, grad: Tensor, draw: StagedDraw) -> None:
        self.grad, (self.score, self.subset) = grad, draw
        self.num_stages = draw.score.shape[-2]
        self.own = grad.gather(-2, self.subset.unsqueeze(-2)).squeeze(-2)
        stages = torch.arange(self.num_stages, device=grad.device).unsqueeze(-1)
        self.is_inside = self.subset.unsqueeze(-2) == stages
        self.is_outside = self.subset.unsqueeze(-2) > stages
        # Infinite where there is none, so that nothing passes it.
        inside = self.score.masked_fill(~self.is_inside, torch.inf)
        outside = self.score.masked_fill(~self.is_outside, -torch.inf)
        self.last_score, self.last = inside.min(-1, keepdim=True)
        self.first_score, self.first = outside.max(-1, keepdim=True)

    def score_gradient(self, log_s: Tensor) -> Tensor:
        """Gradient for the log-scores, shape ``(*batch, K, n)``; that of the last row is 0."""
        log_s = log_s.expand(self.grad.shape)
        rows = [self._stage_gradient(k, log_s[..., k, :]) for k in range(self.num_stages)]
        return torch.stack([*rows, torch.zeros_like(self.own)], -2)

    def _stage_gradient(self, k: int, log_s: Tensor) -> Tensor:
        is_inside, is_outside = self.is_inside[..., k, :], self.is_outside[..., k, :]
        last_score, first_score = self.last_score[..., k, :], self.first_score[..., k, :]
        edge = torch.where(is_inside, first_score, last_score)
        rate = (log_s - edge).clamp(-_MAX_LOG, _MAX_LOG).exp()
        weight = torch.where(is_inside, -rate / torch.expm1(rate), rate) / 2
        element = torch.arange(log_s.shape[-1], device=log_s.device).expand_as(self.subset)
        last, first = (x[..., k, :].expand_as(element) for x in (self.last, self.first))
        entering = torch.where(is_inside, first, element)
        leaving = torch.where(is_inside, element, last)
        value = self._joins(k, entering) - self._at(k, leaving)
        change = self._follow(_Change(value, leaving, entering, torch.ones_like(is_inside)), k + 1)
        possible = (is_inside | is_outside) & last_score.isfinite() & first_score.isfinite()
        return torch.where(possible, weight * change, 0.0)

    def _follow(self, change: _Change, stage: int) -> Tensor:
        """What the later stages make of a change, from a stage on."""
        for k in range(stage, self.num_stages):
            is_free = change.is_open & (self.subset.gather(-1, change.missing) == k)
            # Where the missing element is not of this subset, all places are taken.
            score = self.score[..., k, :].gather(-1, change.spare)
            last = self.last[..., k, :].expand_as(change.spare)
            displaces = change.is_open & ~is_free & (score > self.last_score[..., k, :])
            gain = self._at(k, change.spare) - self._at(k, last)
            displaced = change._replace(
                value=change.value + torch.where(displaces, gain, 0.0),
                spare=torch.where(displaces, last, change.spare),
            )
            change = self._fill_place(displaced, is_free, k)
        rest = self._at(self.num_stages, change.spare)
        return change.value + torch.where(change.is_open, rest, 0.0)

    def _fill_place(self, change: _Change, is_free: Tensor, k: int) -> _Change:
        """A free place is taken by the element to spare or by the first outside."""
        score = self.score[..., k, :].gather(-1, change.spare)
        first = self.first[..., k, :].expand_as(change.spare)
        is_spare = score > self.first_score[..., k, :]
        gain = torch.where(is_spare, self._at(k, change.spare), self._joins(k, first))
        return _Change(
            change.value + torch.where(is_free, gain, 0.0),
            change.spare,
            torch.where(is_free, first, change.missing),
            change.is_open & ~(is_free & is_spare),
        )

    def _at(self, k: int, element: Tensor) -> Tensor:
        return self.grad[..., k, :].gather(-1, element)

    def _joins(self, k: int, element: Tensor) -> Tensor:
        """The change when an element joins subset ``k`` instead of its own."""
        return self._at(k, element) - self.own.gather(-1, element)
