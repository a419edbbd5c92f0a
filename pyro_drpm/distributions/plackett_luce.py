# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The distribution of the ordering."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from pyro_drpm.distributions.arguments import log_weights
from pyro_drpm.distributions.batching import expanded_batch_shape
from pyro_drpm.distributions.constraints import ordering
from pyro_drpm.ops.assignment.orderings import log_ordering_probability
from pyro_drpm.ops.noise import gumbel

__all__ = ["PlackettLuce"]

_MAX_ENUMERATED = 8


class PlackettLuce(TorchDistribution):
    r"""Plackett-Luce distribution over orderings of ``n`` elements.

    A sample is a long vector of element indices, best first. Elements are drawn one after the
    other without replacement, with probabilities proportional to their scores:

    .. math:: \log p(\pi) = \sum_i \Big[ \log s_{\pi_i} - \log \sum_{j \ge i} s_{\pi_j} \Big].

    Sampling sorts Gumbel-perturbed log-scores. Relaxed permutation matrices are in
    :mod:`pyro_drpm.ops.relaxation.neuralsort`.

    Args:
        s: Scores, positive, shape ``(*batch, n)``.
        log_s: Their logarithms, instead of ``s``.
        validate_args: Whether to check values; must be false in :func:`torch.func.vmap`, where they
            cannot be looked at.

    Raises:
        ValueError: If scores are given in both forms or none, are not float32 or float64, or have
            no dimension; with ``validate_args`` if they are not finite (and positive).

    References:
        Plackett, R. L.: The analysis of permutations. Applied Statistics 24(2), 1975.
        Luce, R. D.: Individual choice behavior. Wiley, 1959.

    Example:
        >>> orderings = PlackettLuce(torch.tensor([3.0, 1.0]))
        >>> orderings.log_prob(torch.tensor([0, 1])).exp()
        tensor(0.7500)
    """

    arg_constraints = {
        "s": constraints.independent(constraints.positive, 1),
        "log_s": constraints.real_vector,
    }
    support = ordering
    has_enumerate_support = True

    def __init__(
        self,
        s: Tensor | None = None,
        *,
        log_s: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        validate = self._validate_args if validate_args is None else validate_args
        self.log_s = log_weights(type(self).__name__, "s", s, log_s, validate)
        super().__init__(self.log_s.shape[:-1], self.log_s.shape[-1:], validate_args=False)
        self._validate_args = validate

    def expand(
        self, batch_shape: Sequence[int], _instance: PlackettLuce | None = None
    ) -> PlackettLuce:
        """The same distribution with another batch shape; parameters are shared."""
        new = self._get_checked_instance(PlackettLuce, _instance)
        batch_shape = expanded_batch_shape(type(self).__name__, self.batch_shape, batch_shape)
        new.log_s = self.log_s.expand(batch_shape + self.event_shape)
        super(PlackettLuce, new).__init__(batch_shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def __repr__(self) -> str:
        return f"{type(self).__name__}(log_s: {self.log_s.shape})"

    @classmethod
    def infer_shapes(cls, **arg_shapes: torch.Size) -> tuple[torch.Size, torch.Size]:
        """Batch and event shape from argument shapes."""
        shape = torch.Size(arg_shapes.get("s", arg_shapes.get("log_s", ())))
        return shape[:-1], shape[-1:]

    @property
    def s(self) -> Tensor:
        """Scores, shape ``(*batch, n)``."""
        return self.log_s.exp()

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of orderings, shape ``(*sample, *batch)``."""
        if self._validate_args:
            self._validate_sample(value)
        return log_ordering_probability(self.log_s, value.long()).to(self.log_s.dtype)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Orderings, shape ``(*sample, *batch, n)``."""
        shape = self._extended_shape(torch.Size(sample_shape))
        with torch.no_grad():
            return (self.log_s + gumbel(shape, self.log_s.device)).argsort(-1, descending=True)

    @property
    def mode(self) -> Tensor:
        """The most probable ordering: by falling score."""
        return self.log_s.argsort(-1, descending=True)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All ``n!`` orderings, shape ``(n!, *batch, n)`` or with ones for ``batch``.

        Raises:
            ValueError: If ``n`` is above 8.
        """
        n = self.event_shape[0]
        if n > _MAX_ENUMERATED:
            raise ValueError(
                f"{type(self).__name__}: expected n to be at most {_MAX_ENUMERATED} for "
                f"enumeration, but got n={n} with {math.factorial(n)} orderings."
            )
        values = torch.tensor(list(itertools.permutations(range(n))), device=self.log_s.device)
        values = values.reshape(-1, *(1,) * len(self.batch_shape), n)
        return values.expand(-1, *self.batch_shape, -1) if expand else values
