# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

r"""Which counts the tables of a law of the sizes hold.

Beyond a window around the mean, whose width grows as :math:`\sqrt n`, nothing is left that any
float could tell from zero (Bernstein's inequality), for sums of independent indicators and for
Poisson counts.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Windows", "windows_around"]

# A window of this half-width leaves out less than exp(-75) < 1e-32 of a sum of independent
# indicators with variance at most n.
_DROPPED_NATS = 75.0
# In such a window, less than exp(-100) < 1e-43 counts as zero. Products of what is smaller would be
# denormal numbers, sums of which take a hundred times as long.
_LEAST_IN_WINDOW = -100.0
# Below that nothing is left in float64.
_LEAST = -745.0


def _window_width(total: int) -> int:
    """Bernstein: ``P(|S - E S| > t) <= 2 exp(-t^2 / (2 (var + t / 3)))``, with ``var <= n``."""
    third = _DROPPED_NATS / 3
    return 2 * math.ceil(third + math.sqrt(third**2 + 2 * _DROPPED_NATS * total)) + 1


class Windows(NamedTuple):
    """Where the tables are cut.

    Attributes:
        mass_start: As in :class:`SizeTables`.
        rest_start: As in :class:`SizeTables`.
        counts: What the entries of ``mass`` stand for, ``(*batch, K, w)``, or ``(w,)`` if the same
            for all.
        offset: As in :class:`SizeTables`.
    """

    mass_start: Tensor
    rest_start: Tensor
    counts: Tensor
    offset: int

    def probabilities(self, log_mass: Tensor, possible: Tensor) -> Tensor:
        """Give the entries of a window; what is impossible, or negligible beside the rest, is 0."""
        is_cut = self.offset > 0  # it is 0 where the window is the whole support
        least = _LEAST_IN_WINDOW if is_cut else _LEAST
        kept = possible & (log_mass >= least)
        return torch.where(kept, log_mass.clamp(min=least).exp_(), 0.0)


def windows_around(mean_of_rest: Tensor, total: int) -> Windows:
    """Windows around the means of the partial sums, ``(*batch, K)``, or of the whole support."""
    width = min(total + 1, _window_width(total))
    counts = torch.arange(width, device=mean_of_rest.device)
    center = mean_of_rest.round().long()
    if width == total + 1:
        return Windows(torch.zeros_like(center), torch.zeros_like(center), counts, 0)
    half = width // 2
    mass_start = center - torch.nn.functional.pad(center[..., 1:], (0, 1)) - half
    return Windows(mass_start, center - half, mass_start.unsqueeze(-1) + counts, half)
