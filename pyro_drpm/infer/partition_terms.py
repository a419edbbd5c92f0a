# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

r"""What a latent partition adds to a loss.

With :math:`g` and :math:`h` what guide and model say about the assignment given the sizes, exactly
or bounded, the term of a drawn partition is

.. math::
    \gamma \, E_q [\log q(n) - \log p(n)] + \delta \, [g(Y) - h(Y)] ,

and with a bound :math:`\gamma \log |\Pi_Y|` more. The mean over the sizes is exact.
:meth:`pyro_drpm.DRPM.flow` gives the gradient of the mean over ``Y``: it looks at differences
between neighboring partitions and has no bias, but for the accuracy of these differences, some
parts in a thousand. Where :math:`g` is the log-mass itself, its derivative with respect to
parameters at a given ``Y`` has a mean of zero. It is left out; then what remains vanishes, draw by
draw, where guide and model agree (Roeder, Wu and Duvenaud: Sticking the landing, NeurIPS 2017).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from pyro.distributions.torch_distribution import MaskedDistribution
from pyro.distributions.util import scale_and_mask, sum_rightmost
from torch import Tensor
from torch.distributions import Distribution, Independent, kl_divergence

from pyro_drpm.distributions import DRPM
from pyro_drpm.ops.assignment.changes import Changes
from pyro_drpm.ops.assignment.ranks import Ranks
from pyro_drpm.types import Bound

__all__ = ["Weights", "drawn_term", "given_term", "has_mask", "partition_of", "score"]


class Weights(NamedTuple):
    """Weights of the sizes and of the assignment given the sizes."""

    gamma: float | Tensor = 1.0
    delta: float | Tensor = 1.0


class _Side(NamedTuple):
    """What guide or model says about a log-mass.

    Attributes:
        parts: Sizes and assignment, exact or bounded.
        assignment: The latter alone.
        changes: By how much the assignment's part changes.
        counts_orderings: Whether the sizes' part has the number of orderings in it.
        is_mass: Whether the parts are those of the log-mass itself.
    """

    parts: Callable[[DRPM, Tensor], tuple[Tensor, Tensor]]
    assignment: Callable[[DRPM, Tensor], Tensor]
    changes: Callable[[DRPM, Ranks], Changes]
    counts_orderings: bool = False
    is_mass: bool = False


_MASS = _Side(
    lambda fn, value: fn.log_prob_parts(value),
    lambda fn, value: fn.log_assignment(value),
    lambda fn, ranks: fn.assignment_changes(ranks),
    is_mass=True,
)
_LOWER = _Side(
    lambda fn, value: fn.lower_bound_parts(value),
    lambda fn, value: fn.log_best_ordering(value),
    lambda fn, ranks: fn.ordering_changes(ranks),
)
_TIGHT_UPPER = _Side(
    lambda fn, value: fn.upper_bound_parts(value, bound="tight"),
    lambda fn, value: fn.log_best_ordering(value),
    lambda fn, ranks: fn.ordering_changes(ranks),
    counts_orderings=True,
)
_UPPER = _Side(
    lambda fn, value: fn.upper_bound_parts(value),
    lambda fn, value: fn.log_highest_ordering(),
    lambda fn, ranks: Changes.nothing(fn.log_s, ranks),
    counts_orderings=True,
)

# Guide and model.
_SIDES: dict[Bound, tuple[_Side, _Side]] = {
    "exact": (_MASS, _MASS),
    "tight": (_TIGHT_UPPER, _LOWER),
    "lemma": (_UPPER, _LOWER),
}


def partition_of(fn: Distribution) -> Any:
    """The DRPM inside the wrappers of a site's distribution, or none."""
    while not isinstance(fn, DRPM) and hasattr(fn, "base_dist"):
        fn = fn.base_dist
    return fn if isinstance(fn, DRPM) else None


def given_term(bound: Bound, weights: Weights, guide: Any, model: Any | None) -> Tensor:
    """The term of a partition that was not drawn from the guide, or is relaxed.

    Args:
        bound: What guide and model say.
        weights: Of both parts.
        guide: The site in the guide.
        model: The site in the model; none counts the guide's part alone.

    Returns:
        Of the shape of the site's log-probabilities, scaled and masked like them.
    """

    def weighted(site: Any, side: _Side) -> Tensor:
        sizes, assignment = side.parts(partition_of(site["partition"]), guide["value"])
        return _of_site(site, weights.gamma * sizes + weights.delta * assignment)

    of_guide, of_model = _SIDES[bound]
    term = weighted(guide, of_guide)
    return term if model is None else term - weighted(model, of_model)


def drawn_term(bound: Bound, weights: Weights, guide: Any, model: Any | None) -> Tensor:
    """The term of a partition drawn from the guide; the gradient is that of its mean.

    Arguments and result are those of :func:`given_term`. Where the guide's site has no ranks, the
    gradient through the draw is left to a score function.
    """
    side_of_guide, side_of_model = _SIDES[bound]
    q, mine = partition_of(guide["partition"]), _Part.of(guide, side_of_guide, weights, guide)
    if model is None:
        return _of_site(guide, mine.with_flow(guide) - weights.gamma * q.sizes.entropy())
    p, theirs = partition_of(model["partition"]), _Part.of(model, side_of_model, weights, guide)
    # With one weight for both the divergence is exactly 0 where the laws of the sizes are equal;
    # entropy and cross-entropy would leave round-off.
    if _are_weighted_alike(guide, model):
        sizes = weights.gamma * kl_divergence(q.sizes, p.sizes)
        return _of_site(guide, (mine - theirs).with_flow(guide) + sizes)
    entropy = q.sizes.entropy()
    cross_entropy = entropy + kl_divergence(q.sizes, p.sizes)
    of_guide = _of_site(guide, mine.with_flow(guide) - weights.gamma * entropy)
    return of_guide - _of_site(model, theirs.with_flow(guide) - weights.gamma * cross_entropy)


class _Part(NamedTuple):
    """The part of a term that is not a mean over the sizes: its value, and how it changes."""

    value: Tensor
    changes: Changes | None

    @staticmethod
    def of(site: Any, side: _Side, weights: Weights, guide: Any) -> _Part:
        fn, Y, ranks = partition_of(site["partition"]), guide["value"].detach(), guide["ranks"]
        gradients = torch.is_grad_enabled()
        # The score of the guide at its own draw has a mean of zero.
        with torch.set_grad_enabled(gradients and not (side.is_mass and site is guide)):
            value = weights.delta * side.assignment(fn, Y)
        if side.counts_orderings:
            value = value + weights.gamma * torch.lgamma(Y.sum(-1) + 1).sum(-1)
        if ranks is None or not gradients:
            return _Part(value, None)
        changes = side.changes(fn, ranks).times(weights.delta)
        if side.counts_orderings:
            changes = changes - Changes.of_log_orderings(ranks).times(-weights.gamma)
        return _Part(value, changes)

    def __sub__(self, other: _Part) -> _Part:
        if self.changes is None or other.changes is None:
            return _Part(self.value - other.value, None)
        return _Part(self.value - other.value, self.changes - other.changes)

    def with_flow(self, guide: Any) -> Tensor:
        """The value with the gradient of its mean."""
        if self.changes is None:
            return self.value
        fn = partition_of(guide["partition"])
        flow = fn.flow(guide["ranks"], self.changes, self.value)
        return self.value + flow.to(self.value.dtype)


def _are_weighted_alike(guide: Any, model: Any) -> bool:
    """Whether guide and model scale and mask a site in the same way."""
    unmasked = all(
        site["mask"] is None and not has_mask(site["partition"]) for site in (guide, model)
    )
    scales = guide["scale"], model["scale"]
    numbers = not any(isinstance(scale, Tensor) for scale in scales)
    return unmasked and (scales[0] is scales[1] or (numbers and scales[0] == scales[1]))


def has_mask(fn: Any) -> bool:
    """Whether a site's distribution is masked, by itself or inside of wrappers."""
    return isinstance(fn, MaskedDistribution) or (
        hasattr(fn, "base_dist") and has_mask(fn.base_dist)
    )


def score(guide: Any) -> Tensor:
    """Log-mass of a drawn partition, neither scaled nor masked: what it was drawn with."""
    site, fn = guide["partition"], partition_of(guide["partition"])
    event_dims = len(fn.batch_shape) - len(site.batch_shape)
    return sum_rightmost(fn.log_prob(guide["value"].detach()), event_dims)


def _of_site(site: Any, term: Tensor) -> Tensor:
    fn = site["partition"]
    shape = torch.broadcast_shapes(term.shape, partition_of(fn).batch_shape)
    return scale_and_mask(_reduce(fn, term.expand(shape)), scale=site["scale"], mask=site["mask"])


def _reduce(fn: Distribution, term: Tensor) -> Tensor:
    """What the wrappers around a DRPM do to its log-mass, done to a term."""
    if isinstance(fn, Independent):
        return sum_rightmost(_reduce(fn.base_dist, term), fn.reinterpreted_batch_ndims)
    if isinstance(fn, MaskedDistribution):
        return scale_and_mask(_reduce(fn.base_dist, term), mask=fn._mask)
    return term
