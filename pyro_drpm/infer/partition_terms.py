# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

r"""What a latent partition adds to a loss.

With :math:`g` and :math:`h` what guide and model say about the assignment given the sizes, exactly
or bounded, the term of a drawn partition is

.. math::
    \gamma \, E_q [\log q(n) - \log p(n)] + \delta \, [g(Y) - h(Y)] .

The mean over the sizes is exact. The gradient of the mean over ``Y`` is that of
:meth:`pyro_drpm.DRPM.flow`, which looks at the differences of :math:`g - h` between neighboring
partitions and has no bias. Where :math:`g` is the log-mass itself, its slope for parameters at a
given ``Y`` has a mean of zero and is left out: what remains vanishes, draw by draw, where guide and
model agree (Roeder, Wu and Duvenaud: Sticking the landing, NeurIPS 2017).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from pyro.distributions.torch_distribution import MaskedDistribution
from pyro.distributions.util import scale_and_mask, sum_rightmost
from torch import Tensor
from torch.distributions import Distribution, Independent

from pyro_drpm.distributions import DRPM
from pyro_drpm.ops.changes import Changes
from pyro_drpm.ops.ranks import Ranks

__all__ = ["Bound", "Weights", "drawn_term", "given_term", "partition_of", "score"]

Bound = Literal["exact", "tight", "lemma"]


class Weights(NamedTuple):
    """Weights of the sizes and of the assignment given the sizes."""

    gamma: float | Tensor = 1.0
    delta: float | Tensor = 1.0


class _Side(NamedTuple):
    """What guide or model says about a log-mass.

    Attributes:
        parts: Sizes and assignment, exact or bounded.
        changes: By how much the assignment's part changes; none if it is the same for all
            partitions.
        counts_orderings: Whether the sizes' part has the number of orderings in it.
        is_mass: Whether the parts are those of the log-mass itself.
    """

    parts: Callable[[DRPM, Tensor], tuple[Tensor, Tensor]]
    changes: Callable[[DRPM, Ranks], Changes] | None
    counts_orderings: bool = False
    is_mass: bool = False


_MASS = _Side(
    lambda fn, value: fn.log_prob_parts(value),
    lambda fn, ranks: fn.assignment_changes(ranks),
    is_mass=True,
)
_LOWER = _Side(
    lambda fn, value: fn.lower_bound_parts(value), lambda fn, ranks: fn.ordering_changes(ranks)
)
_TIGHT_UPPER = _Side(
    lambda fn, value: fn.upper_bound_parts(value, tight=True),
    lambda fn, ranks: fn.ordering_changes(ranks),
    counts_orderings=True,
)
_UPPER = _Side(lambda fn, value: fn.upper_bound_parts(value), None, counts_orderings=True)

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
    q, Y, ranks = partition_of(guide["partition"]), guide["value"].detach(), guide["ranks"]
    marginals = q.sizes.marginals()

    def weighted(site: Any, side: _Side) -> Tensor:
        fn = partition_of(site["partition"])
        sizes = fn.sizes.expected_log_mass(marginals)
        if side.counts_orderings:
            log_orderings = torch.lgamma(marginals.counts.double() + 1)
            sizes = sizes + marginals.expectation(log_orderings).sum(-1)
        no_slope = side.is_mass and fn is q
        with torch.set_grad_enabled(torch.is_grad_enabled() and not no_slope):
            assignment = side.parts(fn, Y)[1]
        if ranks is not None and side.changes is not None and torch.is_grad_enabled():
            assignment = assignment + q.flow(ranks, side.changes(fn, ranks))
        term = weights.gamma * sizes + weights.delta * assignment
        return _of_site(site, term.to(Y.dtype))

    of_guide, of_model = _SIDES[bound]
    term = weighted(guide, of_guide)
    return term if model is None else term - weighted(model, of_model)


def score(guide: Any) -> Tensor:
    """Log-mass of a drawn partition, masked as its site, but not scaled."""
    fn = guide["partition"]
    log_prob = _reduce(fn, partition_of(fn).log_prob(guide["value"].detach()))
    return scale_and_mask(log_prob, mask=guide["mask"])


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
