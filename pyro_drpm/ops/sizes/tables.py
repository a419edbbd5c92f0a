# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

r"""What is known about a law of the sizes: tables of its conditionals.

The law is that of independent counts :math:`B_1, \dots, B_K` given that they add up to :math:`n`.
With the laws of the :math:`B_k` and of their sums from the last backwards it is drawn from exactly,
one subset after the other, and its normaliser and marginals are known.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyro_drpm.ops.sizes.partial_sums import differentiable_laws

__all__ = ["TINY", "SizeTables", "slice_with_zeros"]

TINY = 1e-300


class SizeTables(NamedTuple):
    """Windows of the laws of independent counts and of their sums from the last backwards.

    Attributes:
        total: The number ``n`` of elements.
        mass: Probabilities of ``B_k``, shape ``(*batch, K, w)``.
        mass_start: Count at the left edge of each window of ``mass``, shape ``(*batch, K)``; may
            be negative, where the mass is 0.
        rest: Probabilities of ``B_k + ... + B_K``, shape ``(*batch, K, w)``; row 0 is empty.
        rest_start: Left edges of the windows of ``rest``, shape ``(*batch, K)``, likewise.
        offset: ``rest_start[k] - mass_start[k] - rest_start[k + 1]``, the same for all.
        log_scale: ``log P_0 - log P(B_1 + ... + B_K = n)``, shape ``(*batch,)``.
        log_odds: Natural parameters of the counts, shape ``(*batch, K)``, which the gradients of
            ``mass`` and ``rest`` go to; none where these have gradients of their own.
    """

    total: int
    mass: Tensor
    mass_start: Tensor
    rest: Tensor
    rest_start: Tensor
    offset: int
    log_scale: Tensor
    log_odds: Tensor | None = None

    @classmethod
    def of_all_counts(cls, total: int, mass: Tensor, rest: Tensor, log_scale: Tensor) -> SizeTables:
        """Tables whose windows begin at 0, with the gradients of ``mass`` and ``rest`` as given."""
        mass, rest = _joined(mass, rest)
        # Two tensors, since an autograd function that is given one twice is not compiled.
        starts = [torch.zeros_like(mass[..., 0], dtype=torch.long) for _ in range(2)]
        return cls(total, mass, starts[0], rest, starts[1], offset=0, log_scale=log_scale)

    def with_gradients(self, log_odds: Tensor, *, fast: bool = True) -> SizeTables:
        """The same tables in a graph of their own.

        Args:
            log_odds: What the gradients go to, with the values of :attr:`log_odds`.
            fast: Whether the gradients of the tables are of one size; those of their logarithms are
                not, see :mod:`pyro_drpm.ops.sizes.partial_sums`.
        """
        mass, rest = differentiable_laws(
            log_odds, self.mass.detach(), self.rest.detach(), self.mass_start, self.offset, fast
        )
        return self._replace(mass=mass, rest=rest, log_odds=log_odds)

    def for_logarithms(self) -> SizeTables:
        """The same tables, whose gradients are as accurate where probabilities are tiny."""
        return self if self.log_odds is None else self.with_gradients(self.log_odds, fast=False)

    def conditional(self, subsets: int | slice, remaining: Tensor) -> Tensor:
        """Probabilities of counts given what the earlier subsets have left over.

        All zeros where no count is possible, else :meth:`joint` divided by its sum.
        """
        joint = self.joint(subsets, remaining)
        return joint / joint.sum(-1, keepdim=True).clamp(min=TINY)

    def joint(self, subsets: int | slice, remaining: Tensor) -> Tensor:
        """Probabilities that a count and all later ones add up to what is left over.

        Args:
            subsets: One subset from 0 to ``K - 2``, or ``slice(-1)`` for all of them at once.
            remaining: Elements left for that subset and all later ones, shape ``(*sample, *batch)``
                for one subset, ``(*sample, *batch, K - 1)`` for all.

        Returns:
            One more dimension, of size ``w``; entry ``x`` is the probability of the count
            ``mass_start + x``, exactly 0 where that is impossible.
        """
        return self.mass[..., subsets, :] * self.later(subsets, remaining)[0]

    def later(
        self, subsets: int | slice, remaining: Tensor, margin: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Probabilities that the later subsets add up to what every count leaves for them.

        Args:
            subsets: As for :meth:`joint`.
            remaining: Likewise.
            margin: So many counts before and behind those of ``mass`` are added.

        Returns:
            The probabilities, and the places in ``rest``, with one 0 before and behind, that they
            come from; shapes are those of :meth:`joint`, with ``w + 2 margin`` counts.
        """
        after = slice(1, None) if isinstance(subsets, slice) else subsets + 1
        start = self.mass_start[..., subsets] + self.rest_start[..., after]
        width = self.mass.shape[-1]
        counts = torch.arange(-margin, width + margin, device=start.device)
        index = (remaining - start + 1).unsqueeze(-1) - counts
        index = index.clamp(0, width + 1)
        rest = torch.nn.functional.pad(self.rest[..., after, :], (1, 1))
        return rest.expand(*index.shape[:-1], -1).gather(-1, index), index

    def normalized(self, marginals: Tensor) -> Tensor:
        """Laws of each count from what is proportional to them, ``(*batch, K, w)``."""
        return marginals / marginals.sum(-1, keepdim=True)

    def log_normalizer(self) -> Tensor:
        """The logarithm of ``P_0``, shape ``(*batch,)``."""
        if self.mass.shape[-2] == 1:
            at_total = slice_with_zeros(
                self.mass[..., 0, :], self.total - self.mass_start[..., 0], 1
            )
        else:
            at_total = self.joint(0, self.mass_start.new_full((), self.total))
        return self.log_scale + at_total.sum(-1).log()


def _joined(mass: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
    """Both in one node of the graph: a backward pass through one of them frees both.

    So tables that are kept can be told to be of no more use.
    """
    result: tuple[Tensor, Tensor] = _Joined.apply(mass, rest)
    return result


class _Joined(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(mass: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
        return mass.view_as(mass), rest.view_as(rest)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        _mass, _rest = ctx.saved_tensors  # an error where they have been freed
        return grads


def slice_with_zeros(values: Tensor, first: Tensor, width: int) -> Tensor:
    """``values[..., first : first + width]`` with zeros beyond the ends."""
    index = first.unsqueeze(-1) + torch.arange(width, device=values.device)
    inside = (index >= 0) & (index < values.shape[-1])
    taken = values.gather(-1, index.clamp(0, values.shape[-1] - 1))
    return torch.where(inside, taken, 0.0)
