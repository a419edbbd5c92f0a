# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The evidence lower bound of models with random partitions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import torch
from pyro.distributions.util import scale_and_mask
from pyro.infer import TraceMeanField_ELBO
from pyro.infer.util import is_validation_enabled
from pyro.poutine.messenger import Messenger
from pyro.poutine.trace_struct import Trace
from pyro.util import warn_if_nan
from torch import Tensor
from torch.distributions import kl_divergence

from pyro_drpm.distributions import DRPM
from pyro_drpm.infer.annealing import at_handled_temperature
from pyro_drpm.infer.leave_one_out import Cost, Score, leave_one_out
from pyro_drpm.infer.partition_terms import (
    Weights,
    drawn_term,
    given_term,
    partition_of,
    score,
)
from pyro_drpm.types import Bound, Estimator, Weight

__all__ = ["TracePartition_ELBO"]


class TracePartition_ELBO(TraceMeanField_ELBO):
    r"""ELBO whose gradients train latent :class:`~pyro_drpm.DRPM` sites.

    A latent DRPM site of model and guide contributes to the loss

    .. math::
        \gamma \, E_q [\log q(n) - \log p(n)]
        + \delta \, [\log q(Y \mid n) - \log p(Y \mid n)]

    with ``bound="exact"``, and with ``bound="lemma"``, as in the paper,

    .. math::
        \gamma \, E_q \log \frac{|\Pi_Y| \, q(n)}{p(n)}
        + \delta \log \frac{\max_\pi q(\pi)}{p(\pi_Y)},

    where :math:`\pi_Y` is the ordering that gives ``Y`` and is most probable under the model.
    ``bound="tight"`` restricts the maximum to the orderings that give ``Y``. With
    :math:`\gamma = \delta = 1` all three are upper bounds of the negative log evidence, the exact
    one the lowest: where guide and model are equal it is zero, and the lemma's is 128 nats for 60
    elements. The means over the sizes are exact, and the gradients of these terms have no bias
    (:mod:`pyro_drpm.infer.partition_terms`).

    What follows a partition in the model, such as a likelihood, gets its gradient by
    ``estimator="flow"`` through the draw: exact where it is a quadratic function of ``Y``, biased
    where it is not, and of low variance. ``estimator="rloo"`` has no bias for any model
    (:mod:`pyro_drpm.infer.leave_one_out`); it takes at least two particles, better eight or more,
    and also guides with other sites that are not reparametrised. ``infer={"estimator": "rloo"}`` at
    a site of the guide says so for this site alone.

    Everything else is :class:`pyro.infer.TraceMeanField_ELBO`: analytic KL divergences where Pyro
    has them, several particles, ``vectorize_particles``, ``elbo(model, guide)`` as a module.
    Several DRPM sites share the weights. A DRPM site whose counterpart in the model is another
    distribution, or which is auxiliary, counts with its exact log-mass. A partition that is not
    drawn from the guide's distribution, or is relaxed (``hard=False``), and one of a subclass that
    has a log-mass of its own, count with the sampled log-masses, with gradients through ``Y``.

    Args:
        bound: Which terms a DRPM site gets.
        gamma: Weight of the sizes; a number, a tensor or a function of :attr:`step`.
        delta: Weight of the assignment given the sizes, likewise.
        estimator: How the gradient passes through draws of partitions.
        kwargs: As for :class:`pyro.infer.TraceMeanField_ELBO`.

    Attributes:
        step: How many losses have been differentiated; may be set, to go on where a training
            stopped.

    Raises:
        ValueError: If ``bound`` or ``estimator`` is none of those above; for ``"rloo"`` with fewer
            than two particles; if a site has more dims than vectorized particles and plates, so
            that each particle would count several times.
        NotImplementedError: With ``"flow"``, for sites that are not reparametrised.

    References:
        Sutter, T. M., Ryser, A., Liebeskind, J., Vogt, J. E.: Differentiable random partition
        models. NeurIPS 2023, arXiv 2305.16841 (lemma 4.2, equations 43-50).

    Example:
        >>> elbo = TracePartition_ELBO(delta=lambda step: min(1.0, step / 1000))
        >>> unbiased = TracePartition_ELBO(estimator="rloo", num_particles=8)
    """

    def __init__(
        self,
        bound: Bound = "exact",
        gamma: Weight = 1.0,
        delta: Weight = 1.0,
        estimator: Estimator = "flow",
        **kwargs: Any,
    ) -> None:
        for name, value, choices in (
            ("bound", bound, get_args(Bound)),
            ("estimator", estimator, get_args(Estimator)),
        ):
            if value not in choices:
                raise ValueError(
                    f"TracePartition_ELBO: expected {name} to be one of {', '.join(choices)}, "
                    f"but got {value!r}."
                )
        super().__init__(**kwargs)
        self.bound, self.gamma, self.delta, self.step = bound, gamma, delta, 0
        self.estimator = estimator
        if estimator == "rloo":
            self._check_particles()

    def loss(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> float:
        return _number(self._loss(model, guide, args, kwargs))

    def differentiable_loss(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Any:
        """The loss as a tensor, without waiting for the device that it is computed on."""
        loss = self._loss(model, guide, args, kwargs)
        self.step += 1
        return loss

    def loss_and_grads(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> float:
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        if getattr(loss, "requires_grad", False):
            loss.backward(retain_graph=self.retain_graph)
        return _number(loss)

    def _loss(self, model: Any, guide: Any, args: Any, kwargs: Any) -> Any:
        # Not Pyro's loop over sites: it would evaluate the log-mass of every partition, and knows
        # neither the means over the sizes nor differences between neighboring partitions.
        particles = [
            self._particle(*traces) for traces in self._get_traces(model, guide, args, kwargs)
        ]
        loss: Tensor | float = sum(cost.value.sum() for costs, _ in particles for cost in costs)
        if torch.is_grad_enabled():
            loss = loss + leave_one_out(particles)
        loss = loss / self.num_particles
        if is_validation_enabled() and isinstance(loss, Tensor):
            warn_if_nan(loss, "loss")
        return loss

    def _get_trace(self, model: Any, guide: Any, args: Any, kwargs: Any) -> tuple[Trace, Trace]:
        # Pyro computes the log-probabilities of a trace when it makes it. The handlers take the
        # partitions out of that, and put them back into the traces.
        in_guide = _HidePartitionsOfGuide(self.estimator)
        in_model = _HidePartitions(in_guide.sites)
        traces: tuple[Trace, Trace] = super()._get_trace(
            in_model(model), in_guide(guide), args, kwargs
        )
        for trace, hidden in zip(traces, (in_model, in_guide), strict=True):
            for name, changes in hidden.sites.items():
                node: dict[str, Any] = trace.nodes[name]  # type: ignore[assignment]
                node.update(changes)
        return traces

    def _particle(self, model_trace: Trace, guide_trace: Trace) -> tuple[list[Cost], list[Score]]:
        """Costs of all sites, and scores of the sites whose draws carry no gradient."""
        costs = list(self._costs(model_trace, guide_trace))
        scores = []
        for site in guide_trace.nodes.values():
            if site["type"] == "sample" and self._is_scored(site):
                self._check_particles()
                of_partition = "partition" in site
                log_prob = score(site) if of_partition else site["score_parts"].score_function
                scores.append(Score(log_prob, site["cond_indep_stack"]))
        return costs, scores

    def _costs(self, model_trace: Trace, guide_trace: Trace) -> Iterator[Cost]:
        for name, model_site in model_trace.nodes.items():
            if model_site["type"] != "sample":
                continue
            if model_site["is_observed"]:
                yield self._cost(model_site, -model_site["log_prob"])
            else:
                guide_site = guide_trace.nodes[name]
                yield self._cost(guide_site, self._divergence(guide_site, model_site))
        for name, guide_site in guide_trace.nodes.items():
            if guide_site["type"] == "sample" and name not in model_trace.nodes:
                yield self._cost(guide_site, self._divergence(guide_site, None))

    def _cost(self, site: Any, value: Tensor) -> Cost:
        if self.vectorize_particles and self.num_particles > 1:
            _check_dims(site, value, self.max_plate_nesting)
        return Cost(value, site["cond_indep_stack"])

    def _divergence(self, guide_site: Any, model_site: Any | None) -> Tensor:
        """``log q - log p`` or its mean, scaled and masked; ``log q`` for an auxiliary site."""
        if "partition" not in guide_site:
            return _plain_divergence(guide_site, model_site)
        if all(site is None or site["mask"] is False for site in (guide_site, model_site)):
            # No mass is computed that nothing is left of.
            zeros: Tensor = guide_site["value"].new_zeros(guide_site["partition"].batch_shape)
            return zeros
        term = drawn_term if guide_site["estimator"] is not None else given_term
        if model_site is not None and "partition" in model_site:
            weights = Weights(self._weight(self.gamma), self._weight(self.delta))
            return term(self.bound, weights, guide_site, model_site)
        of_guide = term("exact", Weights(), guide_site, None)
        return of_guide if model_site is None else of_guide - model_site["log_prob"]

    def _is_scored(self, guide_site: Any) -> bool:
        """Whether the site's gradient is that of a score function."""
        if "partition" in guide_site:
            return guide_site["estimator"] == "rloo"
        if guide_site["fn"].has_rsample or not torch.is_grad_enabled():
            return False
        if self.estimator == "rloo":
            return True
        raise NotImplementedError(
            f"TracePartition_ELBO: expected reparametrised distributions in the guide, but site "
            f'{guide_site["name"]!r} has none; estimator="rloo" takes them.'
        )

    def _check_particles(self) -> None:
        if self.num_particles < 2:
            raise ValueError(
                "TracePartition_ELBO: expected num_particles of at least 2 for the estimator "
                f"'rloo', whose baseline are the other particles, but got {self.num_particles}."
            )

    def _weight(self, weight: Weight) -> float | Tensor:
        return weight(self.step) if callable(weight) else weight


def _number(loss: Tensor | float) -> float:
    return float(loss.detach() if isinstance(loss, Tensor) else loss)


def _plain_divergence(guide_site: Any, model_site: Any | None) -> Tensor:
    if model_site is None:
        log_prob: Tensor = guide_site["log_prob"]
        return log_prob
    try:
        divergence = kl_divergence(guide_site["fn"], model_site["fn"])
    except NotImplementedError:
        difference: Tensor = guide_site["log_prob"] - model_site["log_prob"]
        return difference
    shape = guide_site["fn"].batch_shape
    divergence = torch.as_tensor(divergence).expand(shape)
    return scale_and_mask(divergence, scale=guide_site["scale"], mask=guide_site["mask"])


def _check_dims(site: Any, value: Tensor, num_dims: int) -> None:
    """Vectorized particles have the leftmost dim; what is beyond it would count all of them."""
    if any(size > 1 for size in value.shape[: max(0, value.dim() - num_dims)]):
        raise ValueError(
            f"TracePartition_ELBO: expected at most {num_dims} batch dims with vectorized "
            f"particles, but site {site['name']!r} has batch shape {tuple(value.shape)}. Where a "
            "partition is looked up at its elements, these are no plate: make them an event with "
            ".to_event(1) instead."
        )


class _HidePartitions(Messenger):
    """Masks latent DRPM sites, so that no trace computes their log-mass, and remembers them.

    Args:
        counterparts: Sites of the guide; a site of the model that has none there is not hidden.
    """

    def __init__(self, counterparts: dict[str, Any] | None) -> None:
        super().__init__()
        self.counterparts = counterparts
        self.sites: dict[str, dict[str, Any]] = {}

    def _pyro_sample(self, msg: Any) -> None:
        name, fn = msg["name"], msg["fn"]
        wanted = self.counterparts is None or name in self.counterparts
        if wanted and not msg["is_observed"] and partition_of(fn) is not None:
            self.sites[name] = {"partition": fn}
            self._prepare(msg)
            msg["fn"] = fn.mask(False)

    def _prepare(self, msg: Any) -> None:
        """Nothing more has to be known about a site of the model."""


class _HidePartitionsOfGuide(_HidePartitions):
    """The same in the guide, where partitions are drawn.

    A site remembers the sizes and the ordering that its partition was drawn from, which the
    gradient needs, and which of the estimators it asks for.
    """

    def __init__(self, estimator: Estimator) -> None:
        super().__init__(None)
        self.estimator = estimator

    def _prepare(self, msg: Any) -> None:
        site = self.sites[msg["name"]]
        site.update(estimator=None, ranks=None)
        fn = partition_of(site["partition"])
        # A value that is given was not drawn from the guide, a relaxed one has derivatives, and the
        # differences between partitions of a subclass may be other ones: no estimator for these.
        if msg["value"] is not None or not fn.hard or not _is_plain(fn):
            return
        site["estimator"] = msg["infer"].get("estimator", self.estimator)
        fn = at_handled_temperature(fn, name=msg["name"])
        if site["estimator"] == "rloo":
            msg["value"] = fn.sample(*msg["args"], **msg["kwargs"])
        elif fn.has_rsample:
            msg["value"], site["ranks"] = fn.draw(*msg["args"], **msg["kwargs"])
        else:
            raise NotImplementedError(
                f"TracePartition_ELBO: expected reparametrised distributions in the guide, but "
                f'site {msg["name"]!r} has has_rsample_(False); estimator="rloo" takes it.'
            )


def _is_plain(fn: DRPM) -> bool:
    """Whether a subclass keeps the log-masses whose changes are known."""
    parts = ("log_prob_parts", "lower_bound_parts", "upper_bound_parts")
    names = ("log_prob", *parts, "log_assignment", "log_best_ordering", "log_highest_ordering")
    return all(getattr(type(fn), name) is getattr(DRPM, name) for name in names)
