# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""What a law of the subset sizes is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import constraints

from pyro_drpm.distributions.arguments import checked_bound, checked_count
from pyro_drpm.distributions.batching import expanded_batch_shape
from pyro_drpm.distributions.constraints import subset_sizes
from pyro_drpm.distributions.kept_tables import KeptTables
from pyro_drpm.distributions.straight_through import StraightThroughDistribution
from pyro_drpm.ops.relaxation.boundaries import relaxed_boundaries
from pyro_drpm.ops.sizes.boundary_moves import boundary_flow, boundary_moves
from pyro_drpm.ops.sizes.draws import perturbed_sizes, sample_sizes
from pyro_drpm.ops.sizes.enumeration import compositions
from pyro_drpm.ops.sizes.mode import most_probable_counts
from pyro_drpm.ops.sizes.moments import SizeMarginals, boundary_survival, size_marginals
from pyro_drpm.ops.sizes.pair_moves import paired_moves
from pyro_drpm.ops.sizes.product import product_tables
from pyro_drpm.ops.sizes.tables import SizeTables

__all__ = ["SizeDistribution"]

_MAX_ENUMERATED = 1 << 16

Law = TypeVar("Law", bound="SizeDistribution")


class SizeDistribution(StraightThroughDistribution):
    r"""Base class of laws of the subset sizes, which :class:`~pyro_drpm.DRPM` takes as ``sizes``.

    A sample is a vector of ``K`` counts that add up to :math:`n`, ``total_count``, each between
    ``minimum`` and ``maximum``, with the mass

    .. math:: p(n_0, \dots, n_{K-1}) = \frac{1}{P_0} \prod_k f_k(n_k) .

    A law of one's own has to supply :meth:`log_factors`, the logarithms of :math:`f_k`, continued
    to real counts, and nothing else: masses, draws, gradients, moments, most probable counts and
    noise for reparametrisation follow, exactly, at ``O(K n^2)`` for the tables. Parameters are
    tensors that are attributes before this class is initialised; they keep the shapes they have,
    and expanded copies share them.

    Args:
        total_count: The number ``n`` of elements.
        shape: Batch shape and ``K``.
        like: A tensor with the dtype and device of samples and log-probabilities.
        minimum: Integers, the least that each subset holds, shape broadcastable with ``shape``;
            0 by default.
        maximum: Integers, the most, likewise; ``total_count`` by default.
        validate_args: Whether to check values.

    Attributes:
        empty_last: Whether a subset is empty if and only if nothing is left over for it.
        moves_by_one: Whether, with one element more to divide, each count stays or grows by one in
            some coupling of both laws, as for log-concave :math:`f_k`. Then gradients have less
            noise, see :mod:`pyro_drpm.ops.sizes.boundary_moves`; else they are those of
            :mod:`pyro_drpm.ops.sizes.pair_moves`. A false claim makes them wrong.
        parameters: The tensors that the law depends on.

    Raises:
        ValueError: If ``total_count`` is no positive integer, or bounds are no integer tensors or
            leave no room for ``n``.

    Example:
        Counts that are more alike than multinomial ones (Conway and Maxwell):

        >>> class ConwayMaxwellSizes(SizeDistribution):
        ...     def __init__(self, total_count, log_rate, dispersion):
        ...         self.log_rate, self.dispersion = log_rate, dispersion
        ...         super().__init__(total_count, log_rate.shape, like=log_rate)
        ...
        ...     def log_factors(self, counts):
        ...         log_rate = self.log_rate.double().unsqueeze(-1)
        ...         return counts * log_rate - self.dispersion * torch.lgamma(counts + 1)
        >>> sizes = ConwayMaxwellSizes(9, torch.zeros(3), dispersion=10.0)
        >>> sizes.mode
        tensor([3., 3., 3.])
        >>> sizes.variance
        tensor([0.1701, 0.1701, 0.1701])
    """

    arg_constraints: dict[str, constraints.Constraint] = {}
    empty_last = False
    moves_by_one = False

    def __init__(
        self,
        total_count: int,
        shape: Sequence[int],
        *,
        like: Tensor,
        minimum: Tensor | Sequence[int] | None = None,
        maximum: Tensor | Sequence[int] | None = None,
        validate_args: bool | None = None,
    ) -> None:
        owner = type(self).__name__
        validate = self._validate_args if validate_args is None else validate_args
        self.total_count = checked_count(owner, total_count)
        self._dtype, self._device = like.dtype, like.device
        self._is_bounded = minimum is not None or maximum is not None
        self.parameters = [x for x in vars(self).values() if isinstance(x, Tensor)]
        self._minimum = checked_bound(owner, "minimum", minimum, 0, shape, like.device)
        self._maximum = checked_bound(owner, "maximum", maximum, total_count, shape, like.device)
        if validate and self._is_bounded:
            self._check_room()
        full = torch.broadcast_shapes(tuple(shape), self._minimum.shape, self._maximum.shape)
        super().__init__(full[:-1], full[-1:], validate_args=False)
        self._validate_args = validate
        # Expanded copies have the same object.
        self._tables = KeptTables(self.parameters)

    def _check_room(self) -> None:
        least, most = torch.broadcast_tensors(self._minimum, self._maximum)
        n, in_order = self.total_count, (least >= 0) & (least <= most)
        # Capacities may be the largest integers, whose sum would overflow.
        has_room = (least.double().sum(-1) <= n) & (most.double().sum(-1) >= n)
        if not (in_order.all() and has_room.all()):
            raise ValueError(
                f"{type(self).__name__}: expected 0 <= minimum <= maximum and counts between them "
                f"that add up to {n}, but got minimum={self._minimum.tolist()} and "
                f"maximum={self._maximum.tolist()}."
            )

    def log_factors(self, counts: Tensor) -> Tensor:
        """``log f_k(x)``, for laws of one's own to supply.

        Args:
            counts: Float64, not negative and at most ``n``, not always integers; shape
                ``(*sample, *batch, K, w)`` or one that broadcasts with it.

        Returns:
            Float64, of the shape that broadcasts; ``-inf`` for counts that are impossible. Bounds
            need not be looked at.
        """
        raise NotImplementedError(f"{type(self).__name__}: expected a method log_factors.")

    def _log_terms(self, counts: Tensor) -> Tensor:
        """The same with bounds."""
        if not self._is_bounded:
            return self.log_factors(counts)
        least, most = (x.double().unsqueeze(-1) for x in (self._minimum, self._maximum))
        log_terms = self.log_factors(torch.minimum(torch.maximum(counts, least), most))
        return torch.where((counts >= least - 0.5) & (counts <= most + 0.5), log_terms, -torch.inf)

    def log_potential_table(self) -> Tensor:
        """``log f_k`` of all counts from 0 to ``n``, within bounds, ``(*batch, K, n + 1)``."""
        counts = torch.arange(self.total_count + 1, dtype=torch.float64, device=self._device)
        log_terms = self._log_terms(counts.expand(*self.event_shape, -1))
        shape = torch.broadcast_shapes(log_terms.shape, (*self.event_shape, 1))
        return log_terms.expand(shape)

    def _build_tables(self) -> SizeTables:
        # Laws whose partial sums are known in closed form override this.
        return product_tables(self.log_potential_table(), self.total_count)

    def expand(self: Law, batch_shape: Sequence[int], _instance: Law | None = None) -> Law:
        """The same distribution with another batch shape; parameters and tables are shared."""
        new = type(self).__new__(type(self)) if _instance is None else _instance
        shape = expanded_batch_shape(type(self).__name__, self.batch_shape, batch_shape)
        new.__dict__.update(self.__dict__)
        super(SizeDistribution, new).__init__(shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def __repr__(self) -> str:
        names = [name.removeprefix("_") for name, x in vars(self).items() if isinstance(x, Tensor)]
        bounds = {"minimum", "maximum"} if not self._is_bounded else set()
        shapes = [f"{name}: {getattr(self, name).shape}" for name in names if name not in bounds]
        return f"{type(self).__name__}({', '.join([f'total_count: {self.total_count}', *shapes])})"

    @classmethod
    def infer_shapes(cls, **arg_shapes: torch.Size) -> tuple[torch.Size, torch.Size]:
        """Batch and event shape from argument shapes."""
        shape = torch.broadcast_shapes(*arg_shapes.values())
        return shape[:-1], shape[-1:]

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> constraints.Constraint:
        return subset_sizes(self.total_count, self._minimum, self._maximum)

    @property
    def dtype(self) -> torch.dtype:
        """Of samples and log-probabilities."""
        return self._dtype

    @property
    def device(self) -> torch.device:
        """Of the same."""
        return self._device

    @property
    def minimum(self) -> Tensor:
        """Least possible counts, shape ``(*batch, K)``."""
        return self._minimum.expand(self.batch_shape + self.event_shape)

    @property
    def maximum(self) -> Tensor:
        """Largest possible counts, shape ``(*batch, K)``."""
        return self._maximum.expand(self.batch_shape + self.event_shape)

    @property
    def tables(self) -> SizeTables:
        """The tables, computed once for all copies that :meth:`expand` makes.

        They are computed anew where parameters have been changed in place, as by an optimiser, or
        where a backward pass has freed their graph. On a GPU a change through ``.data`` goes
        unnoticed.
        """
        return self._tables.get(self._build_tables)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-mass, shape ``(*sample, *batch)``."""
        if self._validate_args:
            self._validate_sample(value)
        log_mass = self.log_mass(value)
        shape = torch.broadcast_shapes(log_mass.shape, self.batch_shape)
        return log_mass.expand(shape).to(self._dtype)

    def log_mass(self, value: Tensor) -> Tensor:
        """:meth:`log_prob` in float64, continued to real counts."""
        terms = self._log_terms(value.double().unsqueeze(-1)).squeeze(-1)
        return terms.sum(-1) - self._log_normalizer()

    def _log_normalizer(self) -> Tensor:
        return self.tables.log_normalizer()

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Counts with straight-through gradients, shape ``(*sample, *batch, K)``."""
        counts = self.sample_counts(sample_shape)
        value = counts.to(self._dtype)
        if not torch.is_grad_enabled():
            return value
        if self.moves_by_one:
            # Subset k gains what boundary k moves up by, and loses what boundary k - 1 does.
            moves = F.pad(self.boundary_moves(counts).sum(0), (1, 1)).diff(dim=-1)
        else:
            mean = self.marginals().moments()[0]
            moves = paired_moves(self.log_mass(counts), counts.double(), mean)
        return value + moves.to(self._dtype)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Counts without gradients, shape ``(*sample, *batch, K)``."""
        with torch.no_grad():
            return self.rsample(sample_shape).detach()  # torch.jit.trace records no torch.no_grad()

    def sample_counts(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Counts as integers, shape ``(*sample, *batch, K)``."""
        return sample_sizes(self.tables, torch.Size(sample_shape) + self.batch_shape)

    def boundary_moves(self, counts: Tensor) -> Tensor:
        """Zeros with the gradients of boundaries that move by one, where :attr:`moves_by_one`.

        Args:
            counts: Integers drawn from this law, shape ``(*sample, *batch, K)``.

        Returns:
            Upward and downward moves, shape ``(2, *sample, *batch, K - 1)``.
        """
        return boundary_moves(self.tables, counts)

    def indicator_moves(self, counts: Tensor) -> Tensor:
        """Zeros with the gradients of the indicators that a rank is in the first ``k`` subsets.

        Arguments are those of :meth:`boundary_moves`.

        Returns:
            Shape ``(*sample, *batch, K - 1, n)``.
        """
        rank = torch.arange(self.total_count, device=counts.device)
        inside = (rank < counts.cumsum(-1)[..., :-1, None]).double()
        return paired_moves(self.log_mass(counts), inside, self.boundary_survival())

    def boundary_survival(self) -> Tensor:
        """Probabilities that a rank is in the first ``k`` subsets, ``(*batch, K - 1, n)``, float64.

        Only where the tables hold all counts, which those of unbounded laws do for hundreds.
        """
        return boundary_survival(self._build_tables())

    def flow(self, counts: Tensor, changes: Tensor, value: Tensor) -> Tensor:
        """Zeros, with the gradient of the mean of any function of the counts, without bias.

        Args:
            counts: Integers drawn from this law, shape ``(*sample, *batch, K)``.
            changes: By how much the function changes when elements move across boundaries, see
                :attr:`pyro_drpm.ops.assignment.changes.Changes.moves`; used where
                :attr:`moves_by_one`.
            value: The function at these counts, shape ``(*sample, *batch)``; used where not, with
                the score of the counts.

        Returns:
            Shape ``(*sample, *batch)``.
        """
        if self.moves_by_one:
            return boundary_flow(self.tables, counts, changes)
        log_mass = self.log_mass(counts)
        return (log_mass - log_mass.detach()) * value.detach()

    @property
    def noise_shape(self) -> torch.Size:
        """Shape ``(K - 1, w)`` of the Gumbel noise behind a relaxed draw; of no size if fixed."""
        num_subsets, width = self.tables.mass.shape[-2:]
        return torch.Size((num_subsets - 1, width))

    def perturbed_counts(self, noise: Tensor | None, shape: torch.Size) -> Tensor:
        """Counts as a function of noise, or the most probable one given the earlier ones.

        Args:
            noise: Standard Gumbel noise, shape ``(*sample, *batch, K - 1, w)``, or none.
            shape: That of the draw, ``(*sample, *batch)``.

        Returns:
            Integers, shape ``(*sample, *batch, K)``.
        """
        return perturbed_sizes(self.tables, noise, shape)

    def relaxed_boundaries(
        self, counts: Tensor, noise: Tensor | None, temperature: Tensor | float
    ) -> Tensor:
        """Soft indicators that a rank is in the first ``k`` subsets, with the paper's gradients.

        Args:
            counts: Those of :meth:`perturbed_counts`.
            noise: The same as there.
            temperature: Positive.

        Returns:
            Shape ``(*sample, *batch, K - 1, n)``, entries in [0, 1].
        """
        return relaxed_boundaries(self.tables, counts, noise, temperature)

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
        return size_marginals(self._build_tables())

    def expected_log_mass(self, marginals: SizeMarginals) -> Tensor:
        """Mean of :meth:`log_mass` under another law of the counts, of which it needs marginals."""
        terms = marginals.expectation(self._log_terms(marginals.counts.double()))
        return terms.sum(-1) - self._log_normalizer()

    def entropy(self) -> Tensor:
        r"""Exact entropy in nats, shape ``(*batch,)``.

        .. math:: H = \log P_0 - \sum_k E \log f_k(n_k)
        """
        entropy = -self.expected_log_mass(self.marginals())
        return entropy.to(self._dtype).expand(self.batch_shape)

    @property
    def mode(self) -> Tensor:
        """The most probable counts, shape ``(*batch, K)``."""
        table = self.log_potential_table()
        counts = most_probable_counts(table, self.total_count, self.empty_last)
        return self._of_events(counts)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All count vectors, shape ``(cardinality, *batch, K)`` or with ones for ``batch``.

        Where bounds differ within the batch, some have no mass in some of it.

        Raises:
            ValueError: If there are more than 65,536 of them.
        """
        n, num_subsets = self.total_count, self.event_shape[0]
        if (n + 1) ** (num_subsets - 1) > _MAX_ENUMERATED:
            raise ValueError(
                f"{type(self).__name__}: expected (total_count + 1)^(K - 1) to be at most "
                f"{_MAX_ENUMERATED} for enumeration, but got total_count={n} and K={num_subsets}."
            )
        values = torch.tensor(self._all_counts(), dtype=self._dtype, device=self._device)
        values = values.reshape(-1, *(1,) * len(self.batch_shape), num_subsets)
        return values.expand(-1, *self.batch_shape, -1) if expand else values

    def _all_counts(self) -> list[list[int]]:
        num_subsets = self.event_shape[0]
        least = self._minimum.reshape(-1, num_subsets).amin(0).tolist()
        most = self._maximum.reshape(-1, num_subsets).amax(0).tolist()
        return list(compositions(self.total_count, least, most))

    def _of_events(self, values: Tensor) -> Tensor:
        return values.to(self._dtype).expand(self.batch_shape + self.event_shape)
