# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The temperature of all partitions of a model, and how it falls."""

from __future__ import annotations

import math
from typing import Any, overload

from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import effectful
from torch import Tensor
from torch.distributions import Distribution

from pyro_drpm.distributions import DRPM

__all__ = ["ExponentialAnnealing", "temperature"]


class temperature(Messenger):
    """Effect handler that sets the temperature of every :class:`~pyro_drpm.DRPM` site inside it.

    Works as a context manager and as a decorator, and reaches distributions wrapped by
    ``to_event`` and ``mask``. The temperature is that of the relaxation: it matters to sites with
    ``gradient="relaxed"`` or ``hard=False`` and under :class:`~pyro_drpm.infer.DRPMReparam`.

    Args:
        value: The temperature, positive.

    Raises:
        ValueError: At the first site, if the temperature is not positive.

    Example:
        >>> import pyro, torch
        >>> from pyro_drpm import DRPM
        >>> def model():
        ...     return pyro.sample("Y", DRPM(torch.ones(2), torch.ones(3)))
        >>> trace = pyro.poutine.trace(temperature(0.1)(model)).get_trace()
        >>> trace.nodes["Y"]["fn"].temperature
        0.1
    """

    def __init__(self, value: Tensor | float) -> None:
        super().__init__()
        self.value = value

    def _pyro_sample(self, msg: Any) -> None:
        msg["fn"] = _with_temperature(msg["fn"], self.value)

    def _pyro_temperature(self, msg: Any) -> None:
        msg["args"] = tuple(_with_temperature(fn, self.value) for fn in msg["args"])


@effectful(type="temperature")
def at_handled_temperature(fn: DRPM) -> DRPM:
    """The distribution as all handlers around would set it.

    For handlers that replace a site, since those outside them do not see the site itself.
    """
    return fn


def _with_temperature(fn: Distribution, value: Tensor | float) -> Distribution:
    if isinstance(fn, DRPM):
        return fn.with_temperature(value)
    base = getattr(fn, "base_dist", None)
    if base is None:
        return fn
    changed = _with_temperature(base, value)
    if changed is base:
        return fn
    new = object.__new__(type(fn))
    new.__dict__.update(fn.__dict__, base_dist=changed)
    return new


class ExponentialAnnealing:
    r"""A temperature that falls exponentially with the step.

    .. math:: \tau_t = \max(\tau_1, \tau_0 (\tau_1 / \tau_0)^{t / T})

    The schedule of the paper's appendix C, whose text has the sign of the rate wrong.

    Args:
        initial: Temperature :math:`\tau_0` of step 0, positive.
        final: Temperature :math:`\tau_1` from step :math:`T` on, positive, at most ``initial``.
        steps: Number :math:`T` of steps from one to the other, positive.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> import torch
        >>> annealing = ExponentialAnnealing(initial=1.0, final=0.5, steps=100)
        >>> annealing(0), annealing(100), annealing(1000)
        (1.0, 0.5, 0.5)
        >>> annealing(torch.tensor(50))
        tensor(0.7071, dtype=torch.float64)
    """

    def __init__(self, initial: float = 1.0, final: float = 0.5, *, steps: int) -> None:
        if not 0 < final <= initial < math.inf:
            raise ValueError(
                "ExponentialAnnealing: expected 0 < final <= initial < inf, but got "
                f"initial={initial} and final={final}."
            )
        if steps < 1:
            raise ValueError(f"ExponentialAnnealing: expected steps >= 1, but got {steps}.")
        self.initial, self.final, self.steps = initial, final, steps

    @overload
    def __call__(self, step: int) -> float: ...
    @overload
    def __call__(self, step: Tensor) -> Tensor: ...

    def __call__(self, step: int | Tensor) -> float | Tensor:
        """Temperature of a step, counted from 0.

        A tensor gives a float64 tensor on its device, which is not waited for: a step that is
        captured in a CUDA graph, counter included, then has a new temperature each time.
        """
        ratio = self.final / self.initial
        if isinstance(step, Tensor):
            falling: Tensor = self.initial * ratio ** (step.double() / self.steps)
            return falling.clamp(min=self.final)
        return max(self.final, self.initial * ratio ** (step / self.steps))
