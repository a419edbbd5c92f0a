# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Cox regression, with exact ties."""

from __future__ import annotations

from functools import partial
from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_drpm.ops.assignment.ties import Ties, log_tied_probability
from pyro_drpm.ops.overrides import overridable
from pyro_drpm.ops.precision import full_precision
from pyro_drpm.ops.risk_sets import EventGroups, RiskSets
from pyro_drpm.types import TieMethod

__all__ = ["CoxPartialLikelihood"]


class CoxPartialLikelihood:
    r"""Partial likelihood of proportional hazards, for any function of the covariates.

    Subjects with log-hazards :math:`\eta_i` have events in Plackett-Luce order with the scores
    :math:`e^{\eta_i}`. Where several have events at one time, in truth they came one after the
    other, and which first is not recorded: times are grouped. The exact likelihood adds up all
    orders. With :math:`D` those who have an event at a time, :math:`R` the sum of the scores of
    all others at risk and :math:`S` that of :math:`D`, its factors are

    .. math::
        \int_0^\infty R e^{-R t} \prod_{i \in D} (1 - e^{-e^{\eta_i} t}) \, dt
        \quad \text{(exact)}, \qquad
        \prod_{j < |D|} \frac{e^{\eta_{i_j}}}{R + (1 - j / |D|) S} \quad \text{(Efron)}, \qquad
        \prod_{i \in D} \frac{e^{\eta_i}}{R + S} \quad \text{(Breslow)}.

    The last two are without the number of orders, :math:`|D|!`, which no parameter depends on.

    Args:
        time: Of the event, or until when there was none, shape ``(n,)``.
        event: Whether there was one, boolean, or 0 and 1, shape ``(n,)``. Who is censored at the
            time of an event is at risk then.
        strata: Integers of shape ``(n,)``: hazards are only compared within a stratum.
        entry: When subjects came under observation, shape ``(n,)``, before their time: they are at
            risk after that only. Rows of one subject for several intervals give covariates that
            change with time. Their sums are differences then, with the round-off of float64.
        ties: ``"exact"``, or an approximation.

    Raises:
        ValueError: If shapes differ, times are no numbers, events are neither 0 nor 1, strata are
            no integers, subjects enter at their time or later, or ties are of another kind.

    References:
        Cox, D. R.: Regression models and life-tables. Journal of the Royal Statistical Society B
        34, 1972.

        DeLong, D. M., Guirguis, G. H., So, Y. C.: Efficient computation of subset selection
        probabilities with application to Cox regression. Biometrika 81, 1994.

        Efron, B.: The efficiency of Cox's likelihood function for censored data. Journal of the
        American Statistical Association 72, 1977.

        Breslow, N.: Covariance analysis of censored survival data. Biometrics 30, 1974.

    Example:
        Of four at risk two have events in the same week, then another:

        >>> likelihood = CoxPartialLikelihood(
        ...     time=torch.tensor([1.0, 1.0, 2.0, 3.0]), event=torch.tensor([1, 1, 1, 0])
        ... )
        >>> likelihood(torch.zeros(4)).exp()
        tensor(0.0833)

        In a model it is a factor:

        >>> import pyro, pyro.distributions as dist
        >>> def model(x):
        ...     beta = pyro.sample("beta", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
        ...     pyro.factor("events", likelihood(x @ beta))
        >>> pyro.poutine.trace(model).get_trace(torch.ones(4, 2)).log_prob_sum().shape
        torch.Size([])
    """

    def __init__(
        self,
        time: Tensor,
        event: Tensor,
        *,
        strata: Tensor | None = None,
        entry: Tensor | None = None,
        ties: TieMethod = "exact",
    ) -> None:
        if ties not in get_args(TieMethod):
            choices = ", ".join(get_args(TieMethod))
            raise ValueError(f"{_OWNER}: expected ties to be one of {choices}, but got {ties!r}.")
        _check_times(time, event, strata, entry)
        self.ties = ties
        self._num_subjects = len(time)
        sets = RiskSets.of(time, event.bool(), strata, entry)
        if ties == "exact":
            groups = Ties.of(sets.value, sets.is_event).compact()
            self._log_prob = partial(_exact, sets=sets, ties=groups)
        else:
            events = EventGroups.of(sets.value, sets.is_event)
            self._log_prob = partial(_approximate, sets=sets, events=events, ties=ties)

    def __repr__(self) -> str:
        return f"{_OWNER}(subjects: {self._num_subjects}, ties: {self.ties!r})"

    def __call__(self, log_hazard: Tensor) -> Tensor:
        r"""The logarithm of the partial likelihood, differentiable twice and more.

        The cost is ``O(n log n)`` and an integral for each time with several events, of which a
        subject meets one at most.

        Args:
            log_hazard: :math:`\eta`, without an intercept, shape ``(*batch, n)``, float32 or
                float64.

        Returns:
            Of the same dtype, shape ``(*batch,)``.

        Raises:
            ValueError: If the number of subjects or the dtype is another.
        """
        if log_hazard.dim() == 0 or log_hazard.shape[-1] != self._num_subjects:
            raise ValueError(
                f"{_OWNER}: expected log-hazards of shape (*batch, {self._num_subjects}), but got "
                f"{tuple(log_hazard.shape)}."
            )
        if log_hazard.dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"{_OWNER}: expected log-hazards of dtype float32 or float64, but got "
                f"{log_hazard.dtype}."
            )
        return self._log_prob(log_hazard).to(log_hazard.dtype)


_OWNER = CoxPartialLikelihood.__name__


@overridable
@full_precision
def _exact(log_hazard: Tensor, *, sets: RiskSets, ties: Ties) -> Tensor:
    by_place = log_hazard[..., sets.order]
    return log_tied_probability(by_place, sets.log_rest(by_place.double()), ties)


def _approximate(
    log_hazard: Tensor, *, sets: RiskSets, events: EventGroups, ties: TieMethod
) -> Tensor:
    by_place = log_hazard[..., sets.order].double()
    log_rest = sets.log_rest(by_place)[..., events.last][..., events.group]
    log_sum = events.log_sum(by_place)[..., events.group]
    if ties == "efron":
        log_sum = log_sum + (-events.share).log1p()
    # The second derivatives of logaddexp are no numbers where there is no rest.
    is_rest = log_rest.isfinite()
    ratio = torch.where(is_rest, log_rest, 0.0) - log_sum
    added = torch.where(is_rest, F.softplus(ratio, threshold=40.0), 0.0)
    return (by_place[..., events.place] - log_sum - added).sum(-1)


def _check_times(time: Tensor, event: Tensor, strata: Tensor | None, entry: Tensor | None) -> None:
    given = {"time": time, "event": event, "strata": strata, "entry": entry}
    for name, x in given.items():
        if x is not None and (x.dim() != 1 or x.shape != time.shape or x.numel() == 0):
            raise ValueError(
                f"{_OWNER}: expected time, event, strata and entry of one shape (n,), but got "
                f"{name} of shape {tuple(x.shape)} and time of shape {tuple(time.shape)}."
            )
    for name, x in (("time", time), ("entry", entry)):
        if x is not None and x.isnan().any():
            at = int(x.isnan().nonzero()[0])
            raise ValueError(f"{_OWNER}: expected {name} to be numbers, but got nan at index {at}.")
    if not ((event == 0) | (event == 1)).all():
        other = event[(event != 0) & (event != 1)][0].item()
        raise ValueError(f"{_OWNER}: expected events of 0 and 1, but got {other}.")
    if strata is not None and (strata.is_floating_point() or strata.is_complex()):
        raise ValueError(f"{_OWNER}: expected strata to be integers, but got {strata.dtype}.")
    if entry is not None and (entry >= time).any():
        at = int((entry >= time).nonzero()[0])
        raise ValueError(
            f"{_OWNER}: expected subjects to enter before their time, but got entry "
            f"{entry[at].item()} and time {time[at].item()} at index {at}."
        )
