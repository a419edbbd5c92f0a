# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""How dims of the latent space become shared: the one thing in which the methods differ.

A method sees the divergences between the posteriors of the two views, dim by dim, and marks the
dims that the views share. Each is a Pyro module with the sites of the model in
:meth:`Sharing.prior`, those of the guide in :meth:`Sharing.forward`, and the choice without noise,
which the evaluation looks at, in :meth:`Sharing.noiseless`.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal

import pyro
import pyro.distributions as dist
import torch
import torch.nn.functional as F
from pyro import poutine
from pyro.nn import PyroModule
from torch import Tensor, nn

from pyro_drpm import DRPM, MultivariateFisherHypergeometric
from pyro_drpm.distributions import FixedSizes, SizeDistribution
from pyro_drpm.types import Gradient

__all__ = [
    "AdaSharing",
    "HypergeometricSharing",
    "LabelSharing",
    "Method",
    "PartitionSharing",
    "PriorScores",
    "Sharing",
    "SizeInputs",
    "SizeWeights",
    "Sizes",
]

Method = Literal["label", "ada", "hg", "drpm"]
SizeInputs = Literal["log-divergence", "divergence"]
Sizes = Literal["modal", "sampled"]
PriorScores = Literal["learned", "equal"]

# Adam moves all parameters at one speed, at which log-scores would hardly leave 0.
_LOG_SCORE_UNIT = 30.0


class SizeWeights(nn.Module):
    r"""The map from divergences to the log weights of both subsets, which start out equal.

    .. math::
        \log \omega = W \log \mathrm{KL} + b

    The paper has :math:`W \, \mathrm{KL} + b`. But divergences reach hundreds of nats in dims that
    differ and stay below one in those that are shared, so that the former alone decide about the
    sizes, and a small step of ``W`` changes them much.

    Args:
        latent_dim: Number ``d`` of dims.
        inputs: Logarithms of the divergences, or the divergences themselves as in the paper.
    """

    def __init__(self, latent_dim: int, inputs: SizeInputs = "log-divergence") -> None:
        super().__init__()
        self.inputs = inputs
        self.linear = nn.Linear(latent_dim, 2)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, divergence: Tensor) -> Tensor:
        """Map divergences ``(B, d)`` to log weights ``(B, 2)``."""
        result: Tensor = self.linear(
            divergence.log() if self.inputs == "log-divergence" else divergence
        )
        return result


class Sharing(PyroModule):
    """A way to choose the dims that two views share.

    Indicators are 1 where a dim is shared and 0 where each view has its own.

    Args:
        latent_dim: Number ``d`` of dims.
    """

    equal: Tensor

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.register_buffer("equal", torch.zeros(latent_dim))

    @abstractmethod
    def forward(self, divergence: Tensor) -> Tensor:
        """Sample the sites of the guide.

        Args:
            divergence: Symmetric KL divergences between the views' posteriors, shape ``(B, d)``.

        Returns:
            Indicators, shape ``(B, d)``.
        """

    @abstractmethod
    def prior(self) -> Tensor:
        """Sample the sites of the model; indicators ``(B, d)``."""

    @abstractmethod
    def noiseless(self, divergence: Tensor) -> Tensor:
        """Indicators ``(B, d)`` without noise."""


class PartitionSharing(Sharing):
    r"""DRPM-VAE: a random partition into independent and shared dims.

    .. math::
        \log \omega &= W \log \mathrm{KL} + b, \qquad
        \log s = u (\log \mathrm{KL} + \log s_0), \\
        Y &\sim \mathrm{DRPM}(\omega, s), \qquad
        p(Y) = \mathrm{DRPM}(Y; \omega_0, s_0)

    Subset 0 takes the dims that come first, those of high divergence, and is the independent one.

    The paper has ``u = 1`` and no ``s_0``, and says nothing about the prior. Learned scores
    ``s_0`` say which dims tend to be shared in all pairs, before the views of one are seen: then a
    factor has its own dims, which the pairs share alike.

    Args:
        latent_dim: Number ``d`` of dims.
        prior_log_odds: Log weight of the shared subset in the prior, relative to the other.
        gradient: Gradient of the sampled partitions, see :class:`~pyro_drpm.DRPM`.
        size_inputs: What the weights are computed from, see :class:`SizeWeights`.
        sizes: Whether the numbers of dims are drawn with noise, or are the most probable ones.
        score_scale: The scale ``u``; the higher it is, the less noise is in the ordering.
        prior_scores: Whether ``s_0`` is learned, or stays 1.
    """

    prior_log_omega: Tensor

    def __init__(
        self,
        latent_dim: int,
        prior_log_odds: float = 0.0,
        gradient: Gradient = "flow",
        size_inputs: SizeInputs = "log-divergence",
        sizes: Sizes = "sampled",
        score_scale: float = 1.0,
        prior_scores: PriorScores = "equal",
    ) -> None:
        super().__init__(latent_dim)
        self.weights = SizeWeights(latent_dim, size_inputs)
        self.register_buffer("prior_log_omega", torch.tensor([0.0, prior_log_odds]))
        self.gradient = gradient
        self.sizes = sizes
        self.score_scale = score_scale
        self.scores = nn.Parameter(torch.zeros(latent_dim)) if prior_scores == "learned" else None

    @property
    def prior_log_s(self) -> Tensor:
        """Log-scores ``(d,)`` of the prior."""
        if self.scores is None:
            return self.equal[:1].expand(self.latent_dim)
        return _LOG_SCORE_UNIT * self.scores

    def forward(self, divergence: Tensor) -> Tensor:
        return pyro.sample("Y", self.partition(divergence))[..., 1, :]

    def prior(self) -> Tensor:
        partition = DRPM(log_omega=self.prior_log_omega, log_s=self.prior_log_s)
        return pyro.sample("Y", partition)[..., 1, :]

    def noiseless(self, divergence: Tensor) -> Tensor:
        return self.partition(divergence).noiseless[..., 1, :]

    def partition(self, divergence: Tensor) -> DRPM:
        """Give ``q(Y | x)``, batch shape ``(B,)`` and event shape ``(2, d)``."""
        log_omega = self.weights(divergence)
        log_s = self.score_scale * (divergence.log() + self.prior_log_s)
        sizes = _law_of_sizes(self.latent_dim, log_omega, self.sizes)
        return DRPM(sizes=sizes, log_s=log_s, gradient=self.gradient)


class _OrderedSharing(Sharing):
    """Shares the dims of lowest divergence. Before the views are seen, any subset is as good."""

    def prior(self) -> Tensor:
        return pyro.sample("shared", dist.Bernoulli(logits=self.equal).to_event(1))

    def _shared(self, indicators: Tensor) -> Tensor:
        return pyro.sample("shared", dist.Delta(indicators, event_dim=1))


class LabelSharing(_OrderedSharing):
    """Label-VAE: all dims are shared but the one of highest divergence."""

    def forward(self, divergence: Tensor) -> Tensor:
        return self._shared(self.noiseless(divergence))

    def noiseless(self, divergence: Tensor) -> Tensor:
        return 1 - F.one_hot(divergence.argmax(-1), self.latent_dim).to(divergence)


class AdaSharing(_OrderedSharing):
    """Ada-VAE: shared are the dims below the middle of the lowest and the highest divergence.

    Its authors take twice the divergence of the first view from the second; here it is the mean of
    both directions, as for all other methods.

    References:
        Locatello, F. et al.: Weakly-supervised disentanglement without compromises. ICML 2020.
    """

    def forward(self, divergence: Tensor) -> Tensor:
        return self._shared(self.noiseless(divergence))

    def noiseless(self, divergence: Tensor) -> Tensor:
        low, high = divergence.aminmax(dim=-1, keepdim=True)
        # Not strictly below, so that equal views share all dims.
        return (divergence <= (low + high) / 2).to(divergence)


class HypergeometricSharing(_OrderedSharing):
    r"""HG-VAE: a random number of dims of lowest divergence.

    .. math::
        \log \omega = W \log \mathrm{KL} + b, \qquad
        (n_1, n_2) \sim \mathrm{MVHG}(\omega), \quad n_1 + n_2 = d

    The :math:`n_1` dims of highest divergence are independent, the other :math:`n_2` shared.

    Args:
        latent_dim: Number ``d`` of dims.
        prior_log_odds: Log weight of the shared subset in the prior, relative to the other.
        gamma: Weight of the terms of the sizes in the ELBO.
        size_inputs: What the weights are computed from, see :class:`SizeWeights`.
        sizes: Whether the number is drawn with noise, or is the most probable one.

    References:
        Sutter, T. M., Manduchi, L., Ryser, A., Vogt, J. E.: Learning group importance using the
        differentiable hypergeometric distribution. ICLR 2023.
    """

    prior_log_omega: Tensor

    def __init__(
        self,
        latent_dim: int,
        prior_log_odds: float = 0.0,
        gamma: float = 1.0,
        size_inputs: SizeInputs = "log-divergence",
        sizes: Sizes = "sampled",
    ) -> None:
        super().__init__(latent_dim)
        self.weights = SizeWeights(latent_dim, size_inputs)
        self.register_buffer("prior_log_omega", torch.tensor([0.0, prior_log_odds]))
        self.gamma = gamma
        self.kind = sizes

    def forward(self, divergence: Tensor) -> Tensor:
        with poutine.scale(scale=self.gamma):
            sizes = pyro.sample("sizes", self.sizes(divergence))
        return self._shared(shared_below(sizes[..., 0], divergence))

    def prior(self) -> Tensor:
        log_omega = self.prior_log_omega
        sizes = MultivariateFisherHypergeometric(self.latent_dim, log_omega=log_omega)
        with poutine.scale(scale=self.gamma):
            pyro.sample("sizes", sizes)
        return super().prior()

    def noiseless(self, divergence: Tensor) -> Tensor:
        return shared_below(self.sizes(divergence).mode[..., 0], divergence)

    def sizes(self, divergence: Tensor) -> SizeDistribution:
        """Give ``q(n | x)``, batch shape ``(B,)``."""
        return _law_of_sizes(self.latent_dim, self.weights(divergence), self.kind)


def _law_of_sizes(latent_dim: int, log_omega: Tensor, kind: Sizes) -> SizeDistribution:
    """Fisher's law, or its most probable sizes without noise."""
    law = MultivariateFisherHypergeometric(latent_dim, log_omega=log_omega)
    return FixedSizes.at_mode(law) if kind == "modal" else law


def shared_below(num_independent: Tensor, divergence: Tensor) -> Tensor:
    """Mark all dims as shared but the given number of those of highest divergence.

    Gradients flow straight through: a number that grows by one makes the first shared dim
    independent, one that falls by one makes the last independent dim shared, and the gradient is
    the mean of both.

    Args:
        num_independent: Integers with gradients, shape ``(B,)``.
        divergence: Shape ``(B, d)``.
    """
    rank = divergence.argsort(-1, descending=True).argsort(-1)  # 0 for the highest
    number = num_independent.detach().unsqueeze(-1)
    at_boundary = (rank == number) | (rank == number - 1)
    move = (num_independent - num_independent.detach()).unsqueeze(-1)
    return (rank >= number).to(move) - 0.5 * move * at_boundary
