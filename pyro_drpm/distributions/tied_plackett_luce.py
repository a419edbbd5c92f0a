# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The distribution of rankings with ties."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from pyro_drpm.distributions.arguments import is_integer_sequence, log_weights
from pyro_drpm.distributions.batching import expanded_batch_shape
from pyro_drpm.distributions.constraints import tied_ranking
from pyro_drpm.ops.assignment.ties import log_tied_ranking_probability
from pyro_drpm.ops.labels import unsort
from pyro_drpm.ops.noise import gumbel

__all__ = ["TiedPlackettLuce"]

_MAX_ENUMERATED = 8


class TiedPlackettLuce(TorchDistribution):
    r"""Rankings of which groups of elements are known, and nothing about the order inside a group.

    A sample says for each element in which group it is: 0 for the first, who come before all
    others. Elements come in Plackett-Luce order, and a ranking with ties is the event that the
    order is one of those that agree with it. With the groups :math:`g` and the sum :math:`R_g` of
    the scores of all who come later,

    .. math::
        p(y \mid \mathrm{sizes}) = \prod_g \int_0^\infty R_g e^{-R_g t}
        \prod_{i \in g} (1 - e^{-s_i t}) \, dt .

    Groups of one element each give :class:`PlackettLuce`, exactly. Ties are what was not
    recorded; where they are outcomes of their own, as draws in sports, other models fit.

    Whoever is ranked no further is in a last group: a choice of the best, of two for first and
    second place, a ballot with a few names. Whoever did not take part has the number -1. Rows of
    a batch may have any numbers of groups, and need not count them without gaps: the ranks 1, 2, 2,
    4 are those of groups as well.

    Args:
        s: Scores, positive, shape ``(*batch, n)``.
        log_s: Their logarithms, instead of ``s``.
        sizes: Sizes of the groups, integers of shape ``(*batch, G)``, or a list. Needed to draw.
            With them, rankings of other sizes have no mass. Without, each is given its own.
        present: Who takes part, boolean, shape ``(*batch, n)``. Needed to draw where not all do.
            With it, rankings that mark others as absent have no mass.
        validate_args: Whether to check values.

    Raises:
        ValueError: If scores are given in both forms or none, are not float32 or float64, or have
            no dimension, or if shapes do not fit together; with ``validate_args`` if they are not
            finite (and positive), or if sizes are negative or do not add up.

    References:
        DeLong, D. M., Guirguis, G. H., So, Y. C.: Efficient computation of subset selection
        probabilities with application to Cox regression. Biometrika 81, 1994.

        Ma, J., Yi, X., Tang, W., Zhao, Z., Hong, L., Chi, E. H., Mei, Q.: Learning-to-rank with
        partitioned preference: fast estimation for the Plackett-Luce model. AISTATS 2021,
        arXiv 2006.05067.

    Example:
        Of three, two come first together:

        >>> rankings = TiedPlackettLuce(torch.tensor([2.0, 1.0, 1.0]))
        >>> rankings.log_prob(torch.tensor([0, 0, 1])).exp()
        tensor(0.4167)

        The fourth did not take part, and only the winner of the others is known:

        >>> rankings = TiedPlackettLuce(torch.tensor([2.0, 1.0, 1.0, 5.0]))
        >>> rankings.log_prob(torch.tensor([0, 1, 1, -1])).exp()
        tensor(0.5000)
        >>> TiedPlackettLuce(torch.tensor([2.0, 1.0, 1.0]), sizes=[1, 2]).sample((2,)).shape
        torch.Size([2, 3])
    """

    has_enumerate_support = True

    def __init__(
        self,
        s: Tensor | None = None,
        *,
        log_s: Tensor | None = None,
        sizes: Tensor | Sequence[int] | None = None,
        present: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        owner = type(self).__name__
        validate = self._validate_args if validate_args is None else validate_args
        log_s = log_weights(owner, "s", s, log_s, validate)
        self._sizes = None if sizes is None else _counts(owner, sizes, log_s.device)
        self._present = None if present is None else _mask(owner, present, log_s)
        given = [x.shape[:-1] for x in (log_s, self._sizes, self._present) if x is not None]
        batch_shape, event_shape = _broadcast(owner, given), log_s.shape[-1:]
        self.log_s = log_s.expand(batch_shape + event_shape)
        super().__init__(batch_shape, event_shape, validate_args=False)
        self._validate_args = validate
        if validate and self._sizes is not None:
            self._check_sizes(self._sizes)

    def _check_sizes(self, sizes: Tensor) -> None:
        owner, n = type(self).__name__, self.event_shape[0]
        number = torch.tensor(n) if self._present is None else self._present.sum(-1)
        total = sizes.sum(-1)
        if (sizes < 0).any() or (total != number).any():
            raise ValueError(
                f"{owner}: expected sizes of groups that are not negative and add up to the number "
                f"of elements that are present, {number.tolist()}, but got {sizes.tolist()}."
            )

    def expand(
        self, batch_shape: Sequence[int], _instance: TiedPlackettLuce | None = None
    ) -> TiedPlackettLuce:
        """The same distribution with another batch shape; parameters are shared."""
        new = self._get_checked_instance(TiedPlackettLuce, _instance)
        batch_shape = expanded_batch_shape(type(self).__name__, self.batch_shape, batch_shape)
        new.log_s = self.log_s.expand(batch_shape + self.event_shape)
        new._sizes, new._present = self._sizes, self._present
        super(TiedPlackettLuce, new).__init__(batch_shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def __repr__(self) -> str:
        sizes = "" if self._sizes is None else f", sizes: {self._sizes.shape}"
        return f"{type(self).__name__}(log_s: {self.log_s.shape}{sizes})"

    @classmethod
    def infer_shapes(cls, **arg_shapes: torch.Size) -> tuple[torch.Size, torch.Size]:
        """Batch and event shape from argument shapes."""
        shape = torch.Size(arg_shapes.get("s", arg_shapes.get("log_s", ())))
        others = [shape[:-1] for name, shape in arg_shapes.items() if name in ("sizes", "present")]
        return torch.broadcast_shapes(shape[:-1], *others), shape[-1:]

    @property
    def s(self) -> Tensor:
        """Scores, shape ``(*batch, n)``."""
        return self.log_s.exp()

    @property
    def sizes(self) -> Tensor | None:
        """Sizes of the groups, if they are given."""
        return self._sizes

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> constraints.Constraint:
        return tied_ranking(self._sizes, self._present)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of rankings given their sizes, shape ``(*sample, *batch)``.

        The cost is ``O(n log n)`` and that of some integrals, of which an element meets one.
        """
        if self._validate_args:
            self._validate_sample(value)
        log_prob = log_tied_ranking_probability(self.log_s, value).to(self.log_s.dtype)
        if self._validate_args or (self._sizes is None and self._present is None):
            return log_prob
        return torch.where(self.support.check(value), log_prob, -torch.inf)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Rankings, integers of shape ``(*sample, *batch, n)``.

        Raises:
            ValueError: If there are no sizes.
        """
        shape = self._extended_shape(torch.Size(sample_shape))
        with torch.no_grad():
            return self._ranked(self.log_s + gumbel(shape, self.log_s.device))

    @property
    def mode(self) -> Tensor:
        """The most probable ranking of these sizes: by falling score.

        Raises:
            ValueError: If there are no sizes.
        """
        return self._ranked(self.log_s.detach())

    def _ranked(self, log_s: Tensor) -> Tensor:
        """Groups of those with the highest numbers, and so on."""
        sizes = self._given_sizes()
        if self._present is not None:
            log_s = torch.where(self._present, log_s, -torch.inf)
        order = log_s.argsort(dim=-1, descending=True, stable=True)
        ends = sizes.cumsum(-1).expand(*order.shape[:-1], -1).contiguous()
        place = torch.arange(order.shape[-1], device=order.device).expand(order.shape)
        group = torch.searchsorted(ends, place.contiguous(), right=True)
        # Behind the last group come those who are absent.
        return unsort(torch.where(place < ends[..., -1:], group, -1), order)

    def _given_sizes(self) -> Tensor:
        if self._sizes is None:
            raise ValueError(
                f"{type(self).__name__}: expected sizes of the groups, without which there is no "
                "law of rankings to draw from, but got none."
            )
        return self._sizes

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All rankings of these sizes, shape ``(number, *batch, n)`` or with ones for ``batch``.

        Raises:
            ValueError: If there are no sizes, they differ within the batch, somebody is absent, or
                ``n`` is above 8.
        """
        owner, n = type(self).__name__, self.event_shape[0]
        if n > _MAX_ENUMERATED:
            raise ValueError(
                f"{owner}: expected n to be at most {_MAX_ENUMERATED} for enumeration, but got "
                f"n={n}."
            )
        sizes = self._given_sizes().reshape(-1, self._given_sizes().shape[-1])
        if (sizes != sizes[0]).any() or self._present is not None:
            raise ValueError(
                f"{owner}: expected the same sizes for the whole batch and nobody absent for "
                f"enumeration, but got sizes {sizes.tolist()} and present {self._present}."
            )
        labels = [group for group, size in enumerate(sizes[0].tolist()) for _ in range(size)]
        every = sorted(set(itertools.permutations(labels)))
        values = torch.tensor(every, device=self.log_s.device)
        values = values.reshape(-1, *(1,) * len(self.batch_shape), n)
        return values.expand(-1, *self.batch_shape, -1) if expand else values


def _counts(owner: str, sizes: Tensor | Sequence[int], device: torch.device) -> Tensor:
    given = torch.tensor(sizes, device=device) if is_integer_sequence(sizes) else sizes
    if isinstance(given, Tensor):
        is_integer = not given.is_floating_point() and given.dtype != torch.bool
        if is_integer and given.dim() > 0 and given.shape[-1] > 0:
            return given.long()
    raise ValueError(
        f"{owner}: expected sizes to be integers of shape (*batch, G), but got {_received(given)}."
    )


def _mask(owner: str, present: Tensor, log_s: Tensor) -> Tensor:
    fits = isinstance(present, Tensor) and present.dtype == torch.bool and present.dim() > 0
    if not fits or present.shape[-1] != log_s.shape[-1]:
        raise ValueError(
            f"{owner}: expected present to be boolean and of shape (*batch, {log_s.shape[-1]}), "
            f"but got {_received(present)}."
        )
    return present


def _received(given: object) -> str:
    if isinstance(given, Tensor):
        return f"{given.dtype} of shape {tuple(given.shape)}"
    return repr(given)


def _broadcast(owner: str, shapes: list[torch.Size]) -> torch.Size:
    try:
        return torch.broadcast_shapes(*shapes)
    except RuntimeError:
        raise ValueError(
            f"{owner}: expected batch shapes of scores, sizes and present that broadcast, but got "
            f"{', '.join(str(tuple(shape)) for shape in shapes)}."
        ) from None
