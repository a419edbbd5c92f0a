# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Random partitions as an ordinary latent variable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import torch
from torch import Tensor
from torch.distributions import constraints

from pyro_drpm.distributions.arguments import check_match, checked_temperature
from pyro_drpm.distributions.batching import expanded_batch_shape
from pyro_drpm.distributions.constraints import partition_matrix, relaxed_partition_matrix
from pyro_drpm.distributions.element_scores import ElementScores
from pyro_drpm.distributions.hypergeometric import MultivariateFisherHypergeometric
from pyro_drpm.distributions.partition_summaries import PartitionSummaries
from pyro_drpm.distributions.plackett_luce import PlackettLuce
from pyro_drpm.distributions.scores import assignment_of
from pyro_drpm.distributions.size_distribution import SizeDistribution
from pyro_drpm.types import Gradient, UpperBound

__all__ = ["DRPM"]

# Arguments that the law of the sizes has.
_OF_SIZES = ("omega", "log_omega", "capacities", "sizes")


class DRPM(PartitionSummaries):
    r"""Differentiable random partition of ``n`` elements into at most ``K`` subsets.

    A sample is a matrix ``Y`` of shape ``(K, n)`` whose columns are one-hot: ``Y[k, i]`` is 1 where
    element ``i`` lies in subset ``k``; rows may be empty. The sizes of the subsets follow
    :class:`MultivariateFisherHypergeometric` with weights :math:`\omega`, or any other
    :class:`SizeDistribution`, an ordering of the elements follows :class:`PlackettLuce` with scores
    :math:`s`, and the subsets take the elements in order: the first :math:`n_0` form subset 0, the
    next :math:`n_1` subset 1, and so on. So subset 0 tends to hold the highest scores.

    The log-mass is exact, not a bound:

    .. math::
        \log p(Y) = \log p(n_0, \dots, n_{K-1}) + \sum_k \log I_k, \qquad
        I_k = \int_0^\infty R_k e^{-R_k t} \prod_{i : y_{ki} = 1} (1 - e^{-s_i t}) \, dt,

    with :math:`R_k` the sum of the scores of all later subsets, see
    :mod:`pyro_drpm.ops.assignment.probability`. It is differentiable in :math:`\omega`,
    :math:`s` and ``Y``.

    :meth:`rsample` draws exactly and carries straight-through gradients. With ``gradient="flow"``
    they follow the flow of probability between a draw and its neighbors: wherever the function of
    ``Y`` is quadratic, their mean is the exact gradient, and no temperature enters. With
    ``gradient="relaxed"`` they are those of the paper's relaxation, Gumbel-softmax sizes and
    NeuralSort, which :attr:`noiseless` and :class:`~pyro_drpm.infer.DRPMReparam` always take.

    Args:
        omega: Importance weights of the subsets, positive, shape ``(*batch, K)``.
        s: Scores of the elements, positive, shape ``(*batch, n)``.
        log_omega: Logarithms of the weights, instead of ``omega``.
        log_s: Those of the scores, instead of ``s``.
        subset_s: Scores of the elements for every subset, positive, shape ``(*batch, K, n)``,
            instead of ``s``: each subset in turn takes its elements from those that are left, by a
            Plackett-Luce draw with its own scores. The last row has no effect. Pyro takes the score
            function of draws then; :meth:`rsample` has gradients for the scores, by their flow.
        log_subset_s: Their logarithms.
        sizes: Any law of the sizes, instead of the weights; that of the weights is
            :class:`MultivariateFisherHypergeometric`.
        capacities: Integers, the most that each subset holds, a list or broadcastable with
            ``(*batch, K)``.
        temperature: Of the relaxation, positive; constant for differentiation.
        hard: Whether :meth:`rsample` and :attr:`noiseless` give 0 and 1 with a straight-through
            gradient, or the relaxed partition.
        gradient: Of :meth:`rsample`, ``"flow"`` or ``"relaxed"``.
        validate_args: Whether to check values; must be false in :func:`torch.func.vmap`, where they
            cannot be looked at.

    Raises:
        ValueError: If weights or scores are given in both forms or none, are not float32 or
            float64 or differ in dtype or device, or their batch shapes do not broadcast; if sizes
            are no :class:`SizeDistribution` or do not add up to ``n``; if the temperature is not
            positive or the gradient neither of the two; if capacities are no integers or cannot
            hold ``n`` elements; with ``validate_args`` if weights or scores are not finite (and
            positive).

    References:
        Sutter, T. M., Ryser, A., Liebeskind, J., Vogt, J. E.: Differentiable random partition
        models. NeurIPS 2023, arXiv 2305.16841 (definition 4.1, proposition 4.1, lemma 4.2).

        DeLong, D. M., Guirguis, G. H., So, Y. C.: Efficient computation of subset selection
        probabilities with application to Cox regression. Biometrika 81, 1994; and Ma, J. et al.:
        Learning-to-rank with partitioned preference: fast estimation for the Plackett-Luce model.
        AISTATS 2021, arXiv 2006.05067 (the integral of the exact mass, given the sizes).

    Example:
        >>> partition = DRPM(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 1.0, 1.0]))
        >>> partition.enumerate_support().shape
        torch.Size([8, 2, 3])
        >>> partition.log_prob(partition.enumerate_support()).exp().sum().round(decimals=4)
        tensor(1.)
    """

    arg_constraints = {
        "omega": constraints.independent(constraints.positive, 1),
        "s": constraints.independent(constraints.positive, 1),
        "log_omega": constraints.real_vector,
        "log_s": constraints.real_vector,
        "subset_s": constraints.independent(constraints.positive, 2),
        "log_subset_s": constraints.independent(constraints.real, 2),
    }

    def __init__(
        self,
        omega: Tensor | None = None,
        s: Tensor | None = None,
        *,
        log_omega: Tensor | None = None,
        log_s: Tensor | None = None,
        subset_s: Tensor | None = None,
        log_subset_s: Tensor | None = None,
        sizes: SizeDistribution | None = None,
        capacities: Tensor | Sequence[int] | None = None,
        temperature: Tensor | float = 0.5,
        hard: bool = True,
        gradient: Gradient = "flow",
        validate_args: bool | None = None,
    ) -> None:
        validate = self._validate_args if validate_args is None else validate_args
        owner = type(self).__name__
        assignment = assignment_of(owner, (s, log_s), (subset_s, log_subset_s), validate)
        self.temperature = checked_temperature(owner, temperature, validate)
        if gradient not in get_args(Gradient):
            raise ValueError(
                f"{owner}: expected gradient to be one of {', '.join(get_args(Gradient))}, but got "
                f"{gradient!r}."
            )
        self.hard, self.gradient = hard, gradient
        n = assignment.num_elements
        if sizes is None:
            sizes = MultivariateFisherHypergeometric(
                n, omega, log_omega=log_omega, capacities=capacities, validate_args=validate_args
            )
        elif not (omega is None and log_omega is None and capacities is None):
            raise ValueError(f"{owner}: expected either sizes or weights and capacities, not both.")
        if not isinstance(sizes, SizeDistribution):
            raise ValueError(f"{owner}: expected sizes to be a SizeDistribution, got {sizes!r}.")
        check_match(owner, sizes, assignment)
        self._sizes, self._assignment = sizes, assignment
        if not assignment.has_ranks:
            self.has_rsample = False
        try:
            batch_shape = torch.broadcast_shapes(sizes.batch_shape, assignment.batch_shape)
        except RuntimeError:
            raise ValueError(
                f"{owner}: expected batch shapes that broadcast, but got sizes of shape "
                f"{(*sizes.batch_shape, *sizes.event_shape)} and scores of shape "
                f"{tuple(assignment.log_s.shape)}."
            ) from None
        event_shape = sizes.event_shape + (n,)
        super().__init__(batch_shape, event_shape, validate_args=False)
        self._validate_args = validate

    @classmethod
    def from_affinities(cls, log_w: Tensor, sizes: SizeDistribution, **options: Any) -> DRPM:
        r"""Scores for every subset from how well each element fits each subset.

        .. math:: s_{ki} = w_{ki} / \sum_{l > k} w_{li}

        A subset prefers the elements that fit it better than all subsets that come after it. With
        :math:`w_{ki} = p(x_i \mid k)` this is close to the posterior of a mixture given its sizes,
        and a good start for a guide.

        Args:
            log_w: Logarithms of the affinities, shape ``(*batch, K, n)``.
            sizes: The law of the sizes.
            options: As for the class.

        Raises:
            ValueError: If the affinities have fewer than two dims, and as for the class.

        Example:
            >>> from pyro_drpm.distributions import FixedSizes
            >>> log_w = torch.tensor([[9.0, 0.0, 8.0, 0.0], [0.0, 9.0, 0.0, 0.0]])
            >>> DRPM.from_affinities(log_w, FixedSizes(torch.tensor([2, 2]))).sample()
            tensor([[1., 0., 1., 0.],
                    [0., 1., 0., 1.]])
        """
        if log_w.dim() < 2:
            raise ValueError(
                f"{cls.__name__}: expected log_w of shape (*batch, K, n), but got "
                f"{tuple(log_w.shape)}."
            )
        later = log_w[..., 1:, :].flip(-2).logcumsumexp(-2).flip(-2)
        log_s = torch.cat([log_w[..., :-1, :] - later, torch.zeros_like(log_w[..., :1, :])], -2)
        return cls(log_subset_s=log_s, sizes=sizes, **options)

    def expand(self, batch_shape: Sequence[int], _instance: DRPM | None = None) -> DRPM:
        """The same distribution with another batch shape; parameters and tables are shared."""
        owner = type(self).__name__
        return self._copy(expanded_batch_shape(owner, self.batch_shape, batch_shape), _instance)

    def with_temperature(self, temperature: Tensor | float) -> DRPM:
        """The same distribution at another temperature; tables are shared."""
        new = self._copy(self.batch_shape)
        new.temperature = checked_temperature(type(self).__name__, temperature, self._validate_args)
        return new

    def _copy(self, batch_shape: torch.Size, _instance: DRPM | None = None) -> DRPM:
        new = self._get_checked_instance(DRPM, _instance)
        # The components keep the shapes of their parameters and broadcast when they are used.
        for name in ("temperature", "hard", "gradient", "_sizes", "_assignment"):
            setattr(new, name, getattr(self, name))
        if "has_rsample" in self.__dict__:
            new.has_rsample = self.has_rsample
        super(DRPM, new).__init__(batch_shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def __repr__(self) -> str:
        filled = (
            f"ordering: {self.ordering}"
            if self._assignment.has_ranks
            else f"log_subset_s: {self.log_subset_s.shape}"
        )
        return f"{type(self).__name__}(sizes: {self.sizes}, {filled})"

    @classmethod
    def infer_shapes(cls, **arg_shapes: torch.Size) -> tuple[torch.Size, torch.Size]:
        """Batch and event shape from argument shapes; that of ``sizes`` has ``K`` in the end."""
        of_sizes = {name: arg_shapes[name] for name in _OF_SIZES if name in arg_shapes}
        sizes, size_event = MultivariateFisherHypergeometric.infer_shapes(**of_sizes)
        for name in {"subset_s", "log_subset_s"} & arg_shapes.keys():
            shape = arg_shapes[name]
            return torch.broadcast_shapes(sizes, shape[:-2]), size_event + shape[-1:]
        ordering, ordering_event = PlackettLuce.infer_shapes(**arg_shapes)
        return torch.broadcast_shapes(sizes, ordering), size_event + ordering_event

    @constraints.dependent_property(event_dim=2)
    def support(self) -> constraints.Constraint:
        return partition_matrix if self.hard else relaxed_partition_matrix

    @property
    def sizes(self) -> SizeDistribution:
        """The distribution of the subset sizes."""
        return self._sizes.expand(self.batch_shape)

    @property
    def ordering(self) -> PlackettLuce:
        """The distribution of the ordering."""
        if not isinstance(self._assignment, ElementScores):
            raise AttributeError(
                f"{type(self).__name__}: there is no ordering with a score for every subset."
            )
        return self._assignment.ordering.expand(self.batch_shape)

    @property
    def log_omega(self) -> Tensor:
        """Log-weights of the sizes, where their law has such, shape ``(*batch, K)``."""
        log_omega: Tensor = self.sizes.log_omega
        return log_omega

    @property
    def omega(self) -> Tensor:
        """Weights, likewise."""
        return self.log_omega.exp()

    @property
    def log_s(self) -> Tensor:
        """Log-scores, shape ``(*batch, n)``, where there is one per element."""
        return self.ordering.log_s

    @property
    def s(self) -> Tensor:
        """Scores, likewise."""
        return self.log_s.exp()

    @property
    def log_subset_s(self) -> Tensor:
        """Log-scores for every subset, shape ``(*batch, K, n)``; equal rows for one per element."""
        log_s = self._assignment.log_s
        rows = log_s.unsqueeze(-2) if self._assignment.has_ranks else log_s
        return rows.expand(self.batch_shape + self.event_shape)

    @property
    def subset_s(self) -> Tensor:
        """Scores for every subset, likewise."""
        return self.log_subset_s.exp()

    def log_prob(self, value: Tensor) -> Tensor:
        """Exact log-mass, shape ``(*sample, *batch)``."""
        value = self._checked(value)
        assignment = self._assignment.log_mass(value, self.hard)
        return self._full(self._sizes.log_mass(value.sum(-1)) + assignment)

    def log_prob_parts(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """Log-masses of the sizes, and of ``Y`` given the sizes, ``(*sample, *batch)`` each."""
        sizes = self._sizes.log_mass(self._checked(value).sum(-1))
        return self._full(sizes), self.log_assignment(value)

    def log_assignment(self, value: Tensor) -> Tensor:
        """Log-mass of ``Y`` given the sizes, shape ``(*sample, *batch)``."""
        return self._full(self._assignment.log_mass(self._checked(value), self.hard))

    def log_prob_bounds(self, value: Tensor, bound: UpperBound = "lemma") -> tuple[Tensor, Tensor]:
        r"""Lower and upper bound of the log-mass (lemma 4.2 of the paper).

        .. math::
            \log p(n) + \log p(\pi_Y) \le \log p(Y)
            \le \log p(n) + \log |\Pi_Y| + \max_\pi \log p(\pi),

        with :math:`\pi_Y` the most probable ordering among those that give ``Y``, which makes the
        lower bound the best there is. The lemma's maximum runs over all orderings;
        ``bound="tight"`` restricts it to those that give ``Y``, as the lemma's proof does on its
        way.

        Args:
            value: Partition matrix, shape ``(*sample, *batch, K, n)``.
            bound: Which maximum the upper bound takes.

        Returns:
            Two tensors of shape ``(*sample, *batch)``.
        """
        lower, upper = self.lower_bound_parts(value), self.upper_bound_parts(value, bound)
        return lower[0] + lower[1], upper[0] + upper[1]

    def lower_bound_parts(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """``log p(n)`` and ``log p(pi_Y)``, which add up to the lower bound.

        Arguments and shapes are those of :meth:`log_prob_bounds`.
        """
        sizes = self._sizes.log_mass(self._checked(value).sum(-1))
        return self._full(sizes), self.log_best_ordering(value)

    def upper_bound_parts(
        self, value: Tensor, bound: UpperBound = "lemma"
    ) -> tuple[Tensor, Tensor]:
        """``log p(n) + log |Pi_Y|`` and ``max log p(pi)``, which add up to the upper bound.

        Arguments and shapes are those of :meth:`log_prob_bounds`.
        """
        sizes = self._checked(value).sum(-1)
        orderings = torch.lgamma(sizes.double() + 1).sum(-1)
        size_part = self._full(self._sizes.log_mass(sizes) + orderings)
        tight = bound == "tight"
        return size_part, self.log_best_ordering(value) if tight else self.log_highest_ordering()

    def log_best_ordering(self, value: Tensor) -> Tensor:
        """``log p(pi_Y)``, see :meth:`log_prob_bounds`, shape ``(*sample, *batch)``."""
        return self._full(self._assignment.log_best_ordering(self._checked(value)))

    def log_highest_ordering(self) -> Tensor:
        """Log-probability of the most probable ordering of all, shape ``(*batch,)``."""
        return self._full(self._assignment.log_highest_ordering())

    def _full(self, log_prob: Tensor) -> Tensor:
        shape = torch.broadcast_shapes(log_prob.shape, self.batch_shape)
        return log_prob.to(self._dtype).expand(shape)

    def _checked(self, value: Tensor) -> Tensor:
        if not self._validate_args:
            return value.to(self._dtype)
        if not isinstance(value, Tensor) or tuple(value.shape[-2:]) != tuple(self.event_shape):
            received = tuple(value.shape) if isinstance(value, Tensor) else repr(value)
            raise ValueError(
                f"{type(self).__name__}: expected a partition matrix of shape "
                f"(..., {', '.join(map(str, self.event_shape))}), but got {received}."
            )
        self._validate_sample(value)
        return value.to(self._dtype)
