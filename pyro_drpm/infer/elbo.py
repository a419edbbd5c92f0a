# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The evidence lower bound of models with random partitions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, get_args

from pyro.distributions.torch_distribution import MaskedDistribution
from pyro.distributions.util import scale_and_mask, sum_rightmost
from pyro.infer import TraceMeanField_ELBO
from pyro.infer.util import is_validation_enabled
from pyro.poutine.messenger import Messenger
from pyro.poutine.trace_struct import Trace
from pyro.util import warn_if_nan
from torch import Tensor
from torch.distributions import Distribution, Independent
from torch.overrides import TorchFunctionMode

from pyro_drpm.distributions import DRPM

__all__ = ["TracePartition_ELBO"]

Bound = Literal["lemma", "tight", "exact"]
Weight = float | Tensor | Callable[[int], float | Tensor]
Terms = Callable[[DRPM, Tensor], tuple[Tensor, Tensor]]


class TracePartition_ELBO(TraceMeanField_ELBO):
    r"""ELBO with weighted or bounded terms for :class:`~pyro_drpm.DRPM` sites.

    A latent DRPM site of model and guide contributes to the loss

    .. math::
        \gamma \, [\log q(n) - \log p(n)] + \delta \, [\log q(Y \mid n) - \log p(Y \mid n)]

    with ``bound="exact"``, and with ``bound="lemma"``, as in the paper,

    .. math::
        \gamma \log \frac{|\Pi_Y| \, q(n)}{p(n)}
        + \delta \log \frac{\max_\pi q(\pi)}{p(\pi_Y)},

    where :math:`\pi_Y` is the ordering that gives ``Y`` and is most probable under the model.
    ``bound="tight"`` restricts the maximum to the orderings that give ``Y``. With
    :math:`\gamma = \delta = 1` all three are upper bounds of the negative log evidence, the exact
    one the lowest.

    Everything else is :class:`pyro.infer.TraceMeanField_ELBO`: analytic KL divergences where Pyro
    has them, several particles, ``vectorize_particles``, ``elbo(model, guide)`` as a module.
    Several DRPM sites share the weights. A DRPM site whose counterpart in the model is another
    distribution, or which is auxiliary, counts with its exact log-mass.

    Args:
        bound: Which terms a DRPM site gets.
        gamma: Weight of the sizes; a number, a tensor or a function of :attr:`step`.
        delta: Weight of the assignment given the sizes, likewise.
        kwargs: As for :class:`pyro.infer.TraceMeanField_ELBO`.

    Attributes:
        step: How many losses have been differentiated; may be set, to go on where a training
            stopped.

    Raises:
        ValueError: If ``bound`` is none of the three.

    References:
        Sutter, T. M., Ryser, A., Liebeskind, J., Vogt, J. E.: Differentiable random partition
        models. NeurIPS 2023, arXiv 2305.16841 (lemma 4.2, equations 43-50).

    Example:
        >>> elbo = TracePartition_ELBO(bound="exact", delta=lambda step: min(1.0, step / 1000))
    """

    def __init__(
        self,
        bound: Bound = "lemma",
        gamma: Weight = 1.0,
        delta: Weight = 1.0,
        **kwargs: Any,
    ) -> None:
        if bound not in get_args(Bound):
            raise ValueError(
                f"TracePartition_ELBO: expected bound to be one of {', '.join(get_args(Bound))}, "
                f"but got {bound!r}."
            )
        super().__init__(**kwargs)
        self.bound, self.gamma, self.delta, self.step = bound, gamma, delta, 0

    def loss(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> float:
        return float(super().loss(model, guide, *args, **kwargs))

    def differentiable_loss(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Any:
        """The loss as a tensor, without waiting for the device that it is computed on."""
        traces = self._get_traces(model, guide, args, kwargs)
        losses = [self._differentiable_loss_particle(*trace)[1] for trace in traces]
        self.step += 1
        loss = sum(losses) / self.num_particles
        if is_validation_enabled():
            warn_if_nan(loss, "loss")
        return loss

    def loss_and_grads(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> float:
        loss = super().loss_and_grads(model, guide, *args, **kwargs)
        self.step += 1
        return float(loss)

    def _get_trace(self, model: Any, guide: Any, args: Any, kwargs: Any) -> tuple[Trace, Trace]:
        in_guide = _Defer(None)
        in_model = _Defer(in_guide.sites)
        traces = super()._get_trace(in_model(model), in_guide(guide), args, kwargs)
        for trace, deferred in zip(traces, (in_model, in_guide), strict=True):
            for name, fn in deferred.sites.items():
                trace.nodes[name]["partition"] = fn
        return traces

    def _differentiable_loss_particle(self, model_trace: Trace, guide_trace: Trace) -> Any:
        # DRPM sites are masked in the traces, so what comes back is the loss of all others.
        with _Unread():
            _, loss = super()._differentiable_loss_particle(model_trace, guide_trace)
        for name, guide_site in guide_trace.nodes.items():
            if "partition" in guide_site:
                loss = loss + self._partition_loss(model_trace.nodes.get(name, {}), guide_site)
        return loss.detach(), loss

    def _partition_loss(self, model_site: Any, guide_site: Any) -> Tensor:
        if "partition" not in model_site:
            return _site_sum(guide_site, DRPM.log_prob_parts, 1.0, 1.0)
        gamma, delta = self._weight(self.gamma), self._weight(self.delta)
        of_guide, of_model = _TERMS[self.bound]
        return _site_sum(guide_site, of_guide, gamma, delta) - _site_sum(
            model_site, of_model, gamma, delta
        )

    def _weight(self, weight: Weight) -> float | Tensor:
        return weight(self.step) if callable(weight) else weight


class _Unread(TorchFunctionMode):
    """Gives nan for the value of a tensor that is asked for, instead of waiting for its device."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return math.nan if func is Tensor.item else func(*args, **(kwargs or {}))


class _Defer(Messenger):
    """Masks latent DRPM sites, so that no trace computes their log-mass, and remembers them."""

    def __init__(self, counterparts: dict[str, Distribution] | None) -> None:
        super().__init__()
        self.counterparts = counterparts
        self.sites: dict[str, Distribution] = {}

    def _pyro_sample(self, msg: Any) -> None:
        name, fn = msg["name"], msg["fn"]
        wanted = self.counterparts is None or name in self.counterparts
        if wanted and not msg["is_observed"] and _partition_of(fn) is not None:
            self.sites[name] = fn
            msg["fn"] = fn.mask(False)


def _site_sum(site: Any, terms: Terms, gamma: float | Tensor, delta: float | Tensor) -> Tensor:
    fn = site["partition"]
    sizes, assignment = terms(_partition_of(fn), site["value"])
    total = _reduce(fn, gamma * sizes + delta * assignment)
    return scale_and_mask(total, scale=site["scale"], mask=site["mask"]).sum()


def _partition_of(fn: Distribution) -> Any:
    """The DRPM inside the wrappers of a site's distribution, or none."""
    while not isinstance(fn, DRPM) and hasattr(fn, "base_dist"):
        fn = fn.base_dist
    return fn if isinstance(fn, DRPM) else None


def _reduce(fn: Distribution, term: Tensor) -> Tensor:
    """What the wrappers around a DRPM do to its log-mass, done to a term."""
    if isinstance(fn, Independent):
        return sum_rightmost(_reduce(fn.base_dist, term), fn.reinterpreted_batch_ndims)
    if isinstance(fn, MaskedDistribution):
        return scale_and_mask(_reduce(fn.base_dist, term), mask=fn._mask)
    return term


def _tight_upper_terms(fn: DRPM, value: Tensor) -> tuple[Tensor, Tensor]:
    return fn.upper_bound_parts(value, tight=True)


# For each bound the terms of the guide and of the model.
_TERMS: dict[Bound, tuple[Terms, Terms]] = {
    "exact": (DRPM.log_prob_parts, DRPM.log_prob_parts),
    "tight": (_tight_upper_terms, DRPM.lower_bound_parts),
    "lemma": (DRPM.upper_bound_parts, DRPM.lower_bound_parts),
}
