# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Supports of the distributions over partitions, subset sizes and orderings.

Their representations say what a value must be, for torch quotes them when it refuses one.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import biject_to, constraints, transform_to
from torch.distributions.constraints import Constraint
from torch.distributions.transforms import Transform

__all__ = [
    "non_empty_first",
    "ordering",
    "partition_matrix",
    "relaxed_partition_matrix",
    "subset_sizes",
    "tied_ranking",
]

# Arithmetic on straight-through samples may leave round-off behind.
_TOLERANCE = 1e-4


class _PartitionMatrix(Constraint):
    """Matrices ``(K, n)`` whose columns are one-hot, up to round-off."""

    is_discrete = True
    event_dim = 2

    def check(self, value: Tensor) -> Tensor:
        value = value.to(torch.promote_types(value.dtype, torch.float32))
        top = value.amax(-2)
        rest = value.abs().sum(-2) - top.abs()
        return (((top - 1).abs() <= _TOLERANCE) & (rest <= _TOLERANCE)).all(-1)

    def __repr__(self) -> str:
        return "PartitionMatrix: each column has a single 1 and else 0"


class _RelaxedPartitionMatrix(Constraint):
    """Non-negative matrices ``(K, n)`` whose entries add up to ``n``, up to round-off."""

    is_discrete = False
    event_dim = 2

    def check(self, value: Tensor) -> Tensor:
        n = value.shape[-1]
        balanced = (value.sum((-1, -2)) - n).abs() <= _TOLERANCE * n
        return balanced & (value >= -_TOLERANCE).flatten(-2).all(-1)

    def __repr__(self) -> str:
        return "RelaxedPartitionMatrix: entries are at least 0 and add up to the number of columns"


class _Ordering(Constraint):
    """Permutations of ``0, ..., n - 1``."""

    is_discrete = True
    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        return (value.sort(-1).values == torch.arange(value.shape[-1], device=value.device)).all(-1)

    def __repr__(self) -> str:
        return "Ordering: a permutation of 0, ..., n - 1"


class _TiedRanking(Constraint):
    """Numbers of groups, -1 for those who are absent.

    Args:
        sizes: Of the groups, shape ``(*batch, G)``, if they are given.
        present: Who is, shape ``(*batch, n)``, likewise.
    """

    is_discrete = True
    event_dim = 1

    def __init__(self, sizes: Tensor | None, present: Tensor | None) -> None:
        self.sizes, self.present = sizes, present
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        valid = ((value == value.round()) & (value >= -1)).all(-1)
        if self.present is not None:
            valid = valid & ((value >= 0) == self.present).all(-1)
        if self.sizes is not None:
            num_groups = self.sizes.shape[-1]
            is_known = (value >= 0) & (value < num_groups)
            group = torch.where(is_known, value, num_groups).long()
            none = torch.zeros_like(group[..., :1]).expand(*group.shape[:-1], num_groups + 1)
            counts = none.scatter_add(-1, group, torch.ones_like(group))[..., :-1]
            valid = valid & (counts == self.sizes).all(-1) & (value < num_groups).all(-1)
        return valid

    def __repr__(self) -> str:
        sizes = "" if self.sizes is None else f", {self.sizes.tolist()} of each"
        return f"TiedRanking: numbers of groups from 0{sizes}, -1 for absent elements"


class _SubsetSizes(Constraint):
    """Integers between bounds that add up to the total, up to round-off."""

    is_discrete = True
    event_dim = 1

    def __init__(self, total_count: int, minimum: Tensor, maximum: Tensor) -> None:
        self.total_count = total_count
        self.minimum, self.maximum = minimum, maximum
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        near = (value - value.round()).abs() <= _TOLERANCE
        counts = value.round()
        valid = near & (counts >= self.minimum) & (counts <= self.maximum)
        return valid.all(-1) & (counts.sum(-1) == self.total_count)

    def __repr__(self) -> str:
        return (
            f"SubsetSizes: integers that add up to {self.total_count}, at least "
            f"{self.minimum.tolist()} and at most {self.maximum.tolist()}"
        )


class _NonEmptyFirst(_SubsetSizes):
    """The same with no empty subset before one that is not."""

    def check(self, value: Tensor) -> Tensor:
        some = value > 0.5
        return super().check(value) & ~(some[..., 1:] & ~some[..., :-1]).any(-1)

    def __repr__(self) -> str:
        return f"{super().__repr__()}, zeros last"


_REMEDY = (
    "Replace the DRPM site by its noise with pyro.poutine.reparam and "
    "pyro_drpm.infer.DRPMReparam, or write a guide with a DRPM at the site."
)


class _ColumnwiseSoftmax(Transform):
    """From any matrix to a relaxed partition, or to that of its maxima.

    Not bijective. Pyro's strategies for initial values need it at every latent site, whether a
    reparametrisation replaces the site or not; they ask for no gradients. A parameter does, which
    no optimiser could move: the maxima have none.

    Raises:
        ValueError: At a parameter that is to become a partition.
    """

    domain = constraints.independent(constraints.real, 2)

    def __init__(self, codomain: Constraint) -> None:
        super().__init__()
        self.codomain = codomain

    def _call(self, x: Tensor) -> Tensor:
        if not self.codomain.is_discrete:
            return x.softmax(-2)
        if x.requires_grad:
            raise ValueError(
                "Continuous inference cannot learn a partition as a parameter, as pyro.param or "
                f"AutoDelta would, for it is discrete. {_REMEDY}"
            )
        return F.one_hot(x.argmax(-2), x.shape[-2]).mT.to(x.dtype)

    def _inverse(self, y: Tensor) -> Tensor:
        return y.clamp(min=torch.finfo(y.dtype).tiny).log()


def _refuse_bijection(constraint: Constraint) -> Transform:
    """Say what to do where continuous guides and samplers come to a partition."""
    raise ValueError(
        f"Continuous inference cannot handle a partition ({constraint}), which is no bijective "
        f"image of real numbers. {_REMEDY} If the site is enumerated, hide it from the guide: "
        "pyro.poutine.block(model, hide=[the name of the site])."
    )


for _support in (_PartitionMatrix, _RelaxedPartitionMatrix):
    transform_to.register(_support, _ColumnwiseSoftmax)
    biject_to.register(_support, _refuse_bijection)

partition_matrix = _PartitionMatrix()
relaxed_partition_matrix = _RelaxedPartitionMatrix()
ordering = _Ordering()
subset_sizes = _SubsetSizes
tied_ranking = _TiedRanking
non_empty_first = _NonEmptyFirst
