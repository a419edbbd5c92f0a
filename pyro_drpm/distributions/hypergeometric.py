# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The distribution of the subset sizes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import constraints, register_kl

from pyro_drpm.distributions.arguments import log_weights
from pyro_drpm.distributions.batching import expanded_batch_shape
from pyro_drpm.distributions.constraints import subset_sizes
from pyro_drpm.distributions.kept_tables import KeptTables
from pyro_drpm.distributions.straight_through import StraightThroughDistribution
from pyro_drpm.ops.sizes.boundary_moves import boundary_moves
from pyro_drpm.ops.sizes.draws import sample_sizes
from pyro_drpm.ops.sizes.moments import SizeMarginals, size_marginals
from pyro_drpm.ops.sizes.normalizer import log_normalizer, mean_counts
from pyro_drpm.ops.sizes.tables import SizeTables, fisher_tables, log_binomial

__all__ = ["MultivariateFisherHypergeometric"]

_MAX_ENUMERATED = 1 << 16
_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


class MultivariateFisherHypergeometric(StraightThroughDistribution):
    r"""Fisher's multivariate noncentral hypergeometric distribution.

    A sample is a vector of ``K`` counts that add up to :math:`n`, ``total_count``:

    .. math::
        \log p(n_1, \dots, n_K) = \sum_k \Big[ \log \binom{m_k}{n_k} + n_k \log \omega_k \Big]
        - \log P_0, \qquad 0 \le n_k \le m_k .

    The normaliser :math:`P_0` and the conditionals that samples are drawn from are exact, see
    :mod:`pyro_drpm.ops.sizes.normalizer` and :mod:`pyro_drpm.ops.sizes.tables`. The former costs
    ``O(K sqrt(n))``; draws need tables, which cost ``O(K w^2)`` for a window ``w`` of at most
    ``n + 1`` and of order ``sqrt(n)``, once for each distinct ``omega`` whatever the number of
    samples. :meth:`rsample` is straight-through: integers with the gradient of
    :mod:`pyro_drpm.ops.sizes.boundary_moves`.

    Args:
        total_count: The number ``n`` of elements.
        omega: Importance weights, positive, shape ``(*batch, K)``.
        log_omega: Their logarithms, instead of ``omega``.
        capacities: Integers ``m_k``, the most that each subset can hold, shape broadcastable with
            ``(*batch, K)``; ``total_count`` by default.
        validate_args: Whether to check values; must be false in :func:`torch.func.vmap`, where they
            cannot be looked at.

    Raises:
        ValueError: If weights are given in both forms or none, are not float32 or float64, or have
            no dimension; if capacities are not integers, negative, or add up to less than
            ``total_count``; with ``validate_args`` if weights are not finite (and positive).

    References:
        Fog, A.: Sampling methods for Wallenius' and Fisher's noncentral hypergeometric
        distributions. Communications in Statistics 37(2), 2008.
        Sutter, T. M., Manduchi, L., Ryser, A., Vogt, J. E.: Learning group importance using the
        differentiable hypergeometric distribution. ICLR 2023.

    Example:
        >>> sizes = MultivariateFisherHypergeometric(4, omega=torch.tensor([1.0, 2.0, 1.0]))
        >>> sizes.mean
        tensor([1.1026, 1.7948, 1.1026])
        >>> sizes.log_prob(torch.tensor([1.0, 2.0, 1.0])).exp()
        tensor(0.2627)
    """

    arg_constraints = {
        "omega": constraints.independent(constraints.positive, 1),
        "log_omega": constraints.real_vector,
    }

    def __init__(
        self,
        total_count: int,
        omega: Tensor | None = None,
        *,
        log_omega: Tensor | None = None,
        capacities: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        validate = self._validate_args if validate_args is None else validate_args
        owner = type(self).__name__
        if isinstance(total_count, bool) or not isinstance(total_count, int) or total_count < 1:
            raise ValueError(
                f"{owner}: expected a positive integer total_count, got {total_count!r}."
            )
        self.total_count = total_count
        log_omega = log_weights(owner, "omega", omega, log_omega, validate)
        self._has_own_capacities = capacities is not None
        capacities = _capacities(owner, capacities, log_omega, total_count, validate)
        # The parameters stay as small as they were given: expanded copies share their tables.
        shape = torch.broadcast_shapes(log_omega.shape, capacities.shape)
        self._log_omega, self._capacities = log_omega.expand(shape), capacities
        self._tables = KeptTables(self._log_omega, capacities, total_count)
        super().__init__(shape[:-1], shape[-1:], validate_args=False)
        self._validate_args = validate

    def expand(
        self, batch_shape: Sequence[int], _instance: MultivariateFisherHypergeometric | None = None
    ) -> MultivariateFisherHypergeometric:
        """The same distribution with another batch shape; parameters and tables are shared."""
        new = self._get_checked_instance(MultivariateFisherHypergeometric, _instance)
        batch_shape = expanded_batch_shape(type(self).__name__, self.batch_shape, batch_shape)
        for name in ("total_count", "_log_omega", "_capacities", "_has_own_capacities", "_tables"):
            setattr(new, name, getattr(self, name))
        if "has_rsample" in self.__dict__:
            new.has_rsample = self.has_rsample
        super(MultivariateFisherHypergeometric, new).__init__(
            batch_shape, self.event_shape, validate_args=False
        )
        new._validate_args = self._validate_args
        return new

    def __repr__(self) -> str:
        shapes = f"total_count: {self.total_count}, log_omega: {self.log_omega.shape}"
        return f"{type(self).__name__}({shapes})"

    @classmethod
    def infer_shapes(cls, **arg_shapes: torch.Size) -> tuple[torch.Size, torch.Size]:
        """Batch and event shape from argument shapes."""
        weights = arg_shapes.get("omega", arg_shapes.get("log_omega", ()))
        shape = torch.broadcast_shapes(weights, arg_shapes.get("capacities", ()))
        return shape[:-1], shape[-1:]

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> constraints.Constraint:
        return subset_sizes(self.total_count, self._capacities)

    @property
    def log_omega(self) -> Tensor:
        """Log-weights, shape ``(*batch, K)``."""
        return self._log_omega.expand(self.batch_shape + self.event_shape)

    @property
    def omega(self) -> Tensor:
        """Weights, shape ``(*batch, K)``."""
        return self.log_omega.exp()

    @property
    def capacities(self) -> Tensor:
        """Largest possible counts, shape ``(*batch, K)``."""
        return self._capacities.expand(self.batch_shape + self.event_shape)

    @property
    def law(self) -> SizeTables:
        """The tables, computed once for all copies that :meth:`expand` makes.

        They are computed anew where the weights have been changed in place, as by an optimiser, or
        where a backward pass has freed their graph. On a GPU a change through ``.data`` goes
        unnoticed.
        """
        return self._tables.law()

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-mass, shape ``(*sample, *batch)``."""
        if self._validate_args:
            self._validate_sample(value)
        log_mass = self.log_mass(value)
        shape = torch.broadcast_shapes(log_mass.shape, self.batch_shape)
        return log_mass.expand(shape).to(self._log_omega.dtype)

    def log_mass(self, value: Tensor) -> Tensor:
        """:meth:`log_prob` in float64, continued to real counts by the gamma function."""
        terms = self._log_terms(value.double().unsqueeze(-1)).squeeze(-1)
        return terms.sum(-1) - self._log_normalizer()

    def _log_terms(self, counts: Tensor) -> Tensor:
        """``log C(m_k, x) + x log omega_k`` of counts ``(*batch, K, w)``; ``-inf`` above m."""
        capacities = self._capacities.double().unsqueeze(-1)
        # The binomial coefficient of a count above its capacity is zero, but lgamma has a pole.
        log_ways = log_binomial(capacities, counts.minimum(capacities))
        log_terms = log_ways + counts * self._log_omega.double().unsqueeze(-1)
        return torch.where(counts <= capacities + 0.5, log_terms, -torch.inf)

    def _log_normalizer(self) -> Tensor:
        """``log P_0``, which the tables know; without them it takes a fraction of their work."""
        law = self._tables.known()
        if law is not None:
            return law.log_normalizer()
        return log_normalizer(self._log_omega, self._capacities, self.total_count)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Counts with straight-through gradients, shape ``(*sample, *batch, K)``."""
        counts = self.sample_counts(sample_shape)
        value = counts.to(self._log_omega.dtype)
        moves = boundary_moves(self.law, counts).sum(0).to(value.dtype)
        return value + F.pad(moves, (1, 1)).diff(dim=-1)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Counts without gradients, shape ``(*sample, *batch, K)``."""
        with torch.no_grad():
            return self.rsample(sample_shape).detach()  # torch.jit.trace records no torch.no_grad()

    def sample_counts(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Counts as integers, shape ``(*sample, *batch, K)``."""
        shape = torch.Size(sample_shape) + self.batch_shape
        return sample_sizes(self.law, shape)

    @property
    def noise_shape(self) -> torch.Size:
        """Shape ``(K - 1, w)`` of the Gumbel noise behind a relaxed draw."""
        num_subsets, width = self.law.mass.shape[-2:]
        return torch.Size((num_subsets - 1, width))

    @property
    def mean(self) -> Tensor:
        """Exact means, shape ``(*batch, K)``."""
        return self._of_events(self.marginals().moments()[0])

    @property
    def variance(self) -> Tensor:
        """Exact variances, shape ``(*batch, K)``."""
        return self._of_events(self.marginals().moments()[1])

    def marginals(self) -> SizeMarginals:
        """Exact laws of each count alone, float64; of the batch shape of the parameters."""
        return size_marginals(fisher_tables(self._log_omega, self._capacities, self.total_count))

    def expected_log_mass(self, marginals: SizeMarginals) -> Tensor:
        """Mean of :meth:`log_mass` under another law of the counts, of which it needs marginals."""
        terms = marginals.expectation(self._log_terms(marginals.counts.double()))
        return terms.sum(-1) - self._log_normalizer()

    def entropy(self) -> Tensor:
        r"""Exact entropy in nats, shape ``(*batch,)``.

        .. math:: H = \log P_0 - \sum_k E \Big[ \log \binom{m_k}{n_k} + n_k \log \omega_k \Big]
        """
        entropy = -self.expected_log_mass(self.marginals())
        return entropy.to(self._log_omega.dtype).expand(self.batch_shape)

    @property
    def mode(self) -> Tensor:
        """The most probable counts, shape ``(*batch, K)``.

        The mass is a product of log-concave terms, so that giving every element in turn to the
        subset that gains most by it is optimal.
        """
        x = torch.arange(self.total_count, device=self._log_omega.device)
        left = (self._capacities.unsqueeze(-1) - x).clamp(min=0).double()
        gain = (left / (x + 1)).log() + self._log_omega.detach().double().unsqueeze(-1)
        best = gain.flatten(-2).topk(self.total_count, -1).indices // self.total_count
        counts = F.one_hot(best, self.event_shape[0]).sum(-2)
        return counts.to(self._log_omega.dtype).expand(self.batch_shape + self.event_shape)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All count vectors, shape ``(cardinality, *batch, K)`` or with ones for ``batch``.

        Raises:
            ValueError: If there are more than 65,536 of them.
        """
        n, num_subsets = self.total_count, self.event_shape[0]
        if (n + 1) ** (num_subsets - 1) > _MAX_ENUMERATED:
            raise ValueError(
                f"{type(self).__name__}: expected (total_count + 1)^(K - 1) to be at most "
                f"{_MAX_ENUMERATED} for enumeration, but got total_count={n} and K={num_subsets}."
            )
        some = self._capacities.reshape(-1, num_subsets).amax(0).clamp(max=n).tolist()
        first = [c for c in itertools.product(*(range(m + 1) for m in some[:-1])) if sum(c) <= n]
        counts = [[*c, n - sum(c)] for c in first if n - sum(c) <= some[-1]]
        values = torch.tensor(counts, dtype=self._log_omega.dtype, device=self._log_omega.device)
        values = values.reshape(-1, *(1,) * len(self.batch_shape), num_subsets)
        return values.expand(-1, *self.batch_shape, -1) if expand else values

    def _of_events(self, values: Tensor) -> Tensor:
        return values.to(self._log_omega.dtype).expand(self.batch_shape + self.event_shape)


@register_kl(MultivariateFisherHypergeometric, MultivariateFisherHypergeometric)
def _kl_of_sizes(
    q: MultivariateFisherHypergeometric, p: MultivariateFisherHypergeometric
) -> Tensor:
    """Exact, infinite where ``p`` has no mass but ``q`` has.

    Where the capacities are the same, so are the binomial coefficients, and means are enough.
    """
    shape = torch.broadcast_shapes(q.batch_shape, p.batch_shape)
    if q._has_own_capacities or p._has_own_capacities:
        marginals = q.marginals()
        divergence = q.expected_log_mass(marginals) - p.expected_log_mass(marginals)
    else:
        mean = mean_counts(q._log_omega, q._capacities, q.total_count)
        log_ratio = q._log_omega.double() - p._log_omega.double()
        divergence = (mean * log_ratio).sum(-1) - q._log_normalizer() + p._log_normalizer()
    return divergence.to(q._log_omega.dtype).expand(shape)


def _capacities(
    owner: str, capacities: Tensor | None, log_omega: Tensor, total_count: int, validate: bool
) -> Tensor:
    if capacities is None:
        return log_omega.new_full(log_omega.shape[-1:], total_count, dtype=torch.long)
    if not isinstance(capacities, Tensor) or capacities.dtype not in _INTEGERS:
        received = getattr(capacities, "dtype", repr(capacities))
        raise ValueError(
            f"{owner}: expected capacities to be an integer tensor, but got {received}."
        )
    try:
        shape = torch.broadcast_shapes(capacities.shape, log_omega.shape)
    except RuntimeError:
        shape = torch.Size()
    if shape[-1:] != log_omega.shape[-1:]:
        raise ValueError(
            f"{owner}: expected capacities of a shape that broadcasts with that of the weights, "
            f"{tuple(log_omega.shape)}, but got {tuple(capacities.shape)}."
        )
    if validate:
        room = capacities.expand(shape).double().sum(-1)  # of integers it might overflow
        if (capacities < 0).any() or (room < total_count).any():
            raise ValueError(
                f"{owner}: expected capacities that are not negative and add up to at least "
                f"{total_count}, but got {capacities.tolist()}."
            )
    return capacities.long()
