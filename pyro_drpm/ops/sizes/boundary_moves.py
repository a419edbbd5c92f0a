# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

r"""Gradients for the weights of drawn sizes: boundaries that move by one element.

With the boundaries :math:`c_k = n_1 + \dots + n_k` the element of rank :math:`i` lies in the
first :math:`k` subsets if :math:`c_k \ge i`. A parameter :math:`\theta` changes the law of
:math:`c_k` by a flow of probability between neighbouring counts: the flow from
:math:`x` to :math:`x + 1` is :math:`\partial_\theta P(n_k > x)`. Seen from a drawn count, half of
the flow leaves upwards, across the element just behind the boundary, and half arrives from
below, across the element just before it:

.. math::
    u_k = \frac{\partial_\theta P(n_k \ge x + 1 \mid r)}{2 \, p(x \mid r)} + T^+_k u_{k-1}, \qquad
    d_k = \frac{\partial_\theta P(n_k \ge x \mid r)}{2 \, p(x \mid r)} + T^-_k d_{k-1},

where :math:`r` is what the earlier subsets leave over and :math:`T^\pm_k` is the probability that
the boundary :math:`c_k` follows when :math:`c_{k-1}` moves by one, in the coupling that moves it
least. It is the discrete counterpart of implicit reparametrisation. For a function that is
quadratic in the boundaries' indicators :math:`1(c_k \ge i)` the mean of this straight-through
gradient is the exact gradient (the trapezoid rule is exact for quadratics), whatever the
parameters; no temperature enters.

Where the differences of a function between neighboring partitions are known
(:mod:`pyro_drpm.ops.assignment.changes`), they take the place of its slopes, and the mean is the
exact gradient of any function: a boundary :math:`j` moves, those behind it follow with their
probabilities :math:`T`, and the difference is that of all of them together.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_drpm.ops.overrides import overridable
from pyro_drpm.ops.sizes.tables import TINY, SizeTables

__all__ = ["boundary_flow", "boundary_moves"]


def boundary_moves(law: SizeTables, counts: Tensor) -> Tensor:
    """Zeros with the gradients ``u`` and ``d`` of the module's formula at drawn counts.

    Args:
        law: Tables of the size distribution, which the gradients go to.
        counts: Integers, shape ``(*sample, *batch, K)``.

    Returns:
        Upward and downward moves, shape ``(2, *sample, *batch, K - 1)``. Once differentiable.
    """
    if counts.shape[-1] == 1:  # no boundary
        return law.mass.new_zeros(2, *counts.shape[:-1], 0)
    return _moves(counts, *law)


def boundary_flow(law: SizeTables, counts: Tensor, changes: Tensor) -> Tensor:
    """Zero that carries the gradient of a function whose differences are known.

    Args:
        law: Tables of the size distribution, which the gradient goes to.
        counts: Integers, shape ``(*sample, *batch, K)`` or broadcastable with it.
        changes: Those of :attr:`pyro_drpm.ops.assignment.changes.Changes.moves`, shape
            ``(2, 3, *sample, *batch, K)``.

    Returns:
        Shape ``(*sample, *batch)``. Once differentiable.
    """
    if counts.shape[-1] == 1:
        return changes.new_zeros(changes.shape[2:-1])
    missing = changes.dim() - 2 - counts.dim()  # dims of draws that have the same counts
    return _flow(counts[(None,) * missing], changes, *law)


@overridable
def _flow(counts: Tensor, changes: Tensor, *of_law: Any) -> Tensor:
    result: Tensor = _BoundaryFlow.apply(counts, changes, *of_law)
    return result


class _BoundaryFlow(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(counts: Tensor, changes: Tensor, *of_law: Any) -> Tensor:
        return changes.new_zeros(changes.shape[2:-1])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        counts, changes, *of_law = inputs
        _save(ctx, SizeTables(*of_law), counts, changes)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        law, counts, changes = _saved(ctx)
        found = _Drawn.of(law, counts)
        own = _joint_changes(changes, found.follow) * grads[0].unsqueeze(-1)
        # The formula's d multiplies f(x) - f(x - 1), which is minus the change of a downward move.
        up, down = (x.sum_to_size(counts.shape[:-1] + x.shape[-1:]) for x in (own[0], -own[1]))
        return None, None, *found.gradients(up, down)


def _save(ctx: Any, law: SizeTables, *drawn: Tensor) -> None:
    """Keeps all tensors where torch's transforms find them."""
    ctx.total, ctx.offset = law.total, law.offset
    ctx.save_for_backward(
        law.mass,
        law.mass_start,
        law.rest,
        law.rest_start,
        law.log_scale,
        law.log_odds,
        *drawn,
    )


def _saved(ctx: Any) -> tuple[Any, ...]:
    mass, mass_start, rest, rest_start, log_scale, log_odds, *drawn = ctx.saved_tensors
    law = SizeTables(ctx.total, mass, mass_start, rest, rest_start, ctx.offset, log_scale, log_odds)
    return law, *drawn


def _joint_changes(changes: Tensor, follow: Tensor) -> Tensor:
    """Expected change when each boundary moves and others follow, ``(2, *batch, K - 1)``.

    If boundary ``j`` moves, boundary ``j + 1`` follows with its probability in ``follow``, then
    ``j + 2``, and so on. A subset between two boundaries that move changes at both ends; the subset
    behind the last boundary that moves changes at one end.
    """
    alone, end, both = (changes[:, i] for i in range(3))
    passed_on = end[..., -1]  # of the last subset, which has no boundary behind it
    joint = [alone[..., -2] + passed_on]
    for k in reversed(range(1, changes.shape[-1] - 1)):
        follows = follow[..., k]
        passed_on = (1 - follows) * end[..., k] + follows * (both[..., k] + passed_on)
        joint.append(alone[..., k - 1] + passed_on)
    return torch.stack(joint[::-1], -1)


@overridable
def _moves(counts: Tensor, *of_law: Any) -> Tensor:
    result: Tensor = _BoundaryMoves.apply(counts, *of_law)
    return result


class _BoundaryMoves(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(counts: Tensor, *of_law: Any) -> Tensor:
        zeros: Tensor = SizeTables(*of_law).mass.new_zeros(
            2, *counts.shape[:-1], counts.shape[-1] - 1
        )
        return zeros

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        counts, *of_law = inputs
        _save(ctx, SizeTables(*of_law), counts)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        law, counts = _saved(ctx)
        found = _Drawn.of(law, counts)
        return None, *found.gradients(*_own_gradients(grads[0], found.follow))


class _Drawn(NamedTuple):
    """The law around drawn counts.

    Attributes:
        law: The tables.
        later: See :meth:`SizeTables.later`, with one more count on either side.
        places: Likewise.
        above: Which counts are larger than the drawn one, ``(*sample, *batch, K - 1, w)``.
        place: Where the drawn one is, ``(*sample, *batch, K - 1, 1)``.
        shares: Shares of counts, with all earlier boundaries as drawn.
        follow: Probabilities that a boundary follows the one before it by one place, upwards and
            downwards, ``(2, *sample, *batch, K - 1)``.
    """

    law: SizeTables
    later: Tensor
    places: Tensor
    above: Tensor
    place: Tensor
    shares: _Shares
    follow: Tensor

    @staticmethod
    def of(law: SizeTables, counts: Tensor) -> _Drawn:
        remaining = law.total - (counts.cumsum(-1) - counts)[..., :-1]
        place = (counts - law.mass_start)[..., :-1, None]
        mass = law.mass[..., :-1, :]
        above = (torch.arange(mass.shape[-1], device=mass.device) > place).to(mass)
        later, places = law.later(slice(-1), remaining, margin=1)
        # With the boundary before it moved down by one, as drawn, and moved up by one: then one
        # element more, as many, or one fewer are left over.
        joints = [mass * later[..., shift : shift + mass.shape[-1]] for shift in range(3)]
        lower, drawn, higher = (_Shares.of(joint, above, place) for joint in joints)
        follow_up = (higher.reach - drawn.above) / drawn.here
        follow_down = (drawn.reach - lower.above) / drawn.here
        follow = torch.stack([follow_up, follow_down]).clamp(0, 1)
        return _Drawn(law, later, places, above, place, drawn, follow)

    def gradients(self, up: Tensor, down: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the law's fields, from those of the formula's fractions for every draw."""
        shares, law = self.shares, self.law
        up, down = (flow / (2 * shares.here * shares.total) for flow in (up, down))
        everywhere = up * shares.above + down * shares.reach
        grad_joint = self.above * (up + down).unsqueeze(-1) - everywhere.unsqueeze(-1)
        # P(n_k >= x) includes the drawn count x, P(n_k >= x + 1) does not.
        grad_joint = grad_joint.scatter_add(-1, self.place, down.unsqueeze(-1))
        grad_later = torch.zeros_like(self.later).scatter_add(
            -1, self.places[..., 1:-1], grad_joint * law.mass[..., :-1, :]
        )
        grad_mass = F.pad(grad_joint * self.later[..., 1:-1], (0, 0, 0, 1))
        grad_rest = F.pad(grad_later[..., 1:-1], (0, 0, 1, 0))
        of_fields = {
            "mass": grad_mass.sum_to_size(law.mass.shape),
            "rest": grad_rest.sum_to_size(law.rest.shape),
        }
        return tuple(of_fields.get(name) for name in SizeTables._fields)


class _Shares(NamedTuple):
    """Of a joint probability: its sum, and what shares of it counts have relative to a drawn one.

    Attributes:
        total: The sum.
        above: Share of larger counts.
        here: Share of the drawn count.
        reach: Share of both.
    """

    total: Tensor
    above: Tensor
    here: Tensor
    reach: Tensor

    @staticmethod
    def of(joint: Tensor, above: Tensor, place: Tensor) -> _Shares:
        total = joint.sum(-1).clamp(min=TINY)
        larger = (joint * above).sum(-1) / total
        here = joint.gather(-1, place).squeeze(-1) / total
        return _Shares(total, larger, here, larger + here)


def _own_gradients(grad: Tensor, follow: Tensor) -> Tensor:
    """Gradients of the fractions in the formula, by its recursion read backwards."""
    *earlier, last = grad.unbind(-1)
    gradients = [last]
    for own, passed_on in zip(earlier[::-1], follow.unbind(-1)[:0:-1], strict=True):
        gradients.append(own + passed_on * gradients[-1])
    return torch.stack(gradients[::-1], -1)
