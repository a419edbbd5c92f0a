# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Discrete distributions whose samples carry gradients."""

from __future__ import annotations

from typing import Any

from pyro.distributions.score_parts import ScoreParts
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor

__all__ = ["StraightThroughDistribution"]


class StraightThroughDistribution(TorchDistribution):
    """A discrete distribution that is both reparametrised and enumerable.

    Pyro takes a distribution with :meth:`rsample` for one whose values always carry its gradient
    and gives them no score function. An enumerated value carries none, and in
    :class:`pyro.infer.TraceEnum_ELBO` the score function is also what weights the values of a
    guide's site.
    """

    has_rsample = True
    has_enumerate_support = True

    def score_parts(self, x: Tensor, *args: Any, **kwargs: Any) -> ScoreParts:
        parts: ScoreParts = super().score_parts(x, *args, **kwargs)
        # What is drawn has the distribution's own shape, what is enumerated has a dim of its own.
        if x.requires_grad or x.shape == self.shape():
            return parts
        return ScoreParts(parts.log_prob, parts.log_prob, parts.entropy_term)
