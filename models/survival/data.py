# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Arrests of 432 men in the year after their release from prison."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pandas
import torch
from torch import Tensor

__all__ = ["Rossi", "load_rossi"]

_FILE = Path(__file__).parent / "rossi.csv"


class Rossi(NamedTuple):
    """Times and covariates of 432 men.

    Attributes:
        names: Of the covariates: ``fin`` for financial aid, ``age`` at release, ``race`` (1 for
            black), ``wexp`` for work experience, ``mar`` for married, ``paro`` for released on
            parole, ``prio`` for the number of earlier convictions.
        week: Of the first arrest, or 52, shape ``(432,)``, float64.
        arrest: Whether there was one, shape ``(432,)``.
        covariates: Shape ``(432, 7)``, float64.
    """

    names: tuple[str, ...]
    week: Tensor
    arrest: Tensor
    covariates: Tensor

    def standardized(self) -> Rossi:
        """The same with covariates of mean 0 and standard deviation 1."""
        x = self.covariates
        return self._replace(covariates=(x - x.mean(0)) / x.std(0))

    def grouped(self, weeks: int) -> Rossi:
        """The same with the number of the period of so many weeks in place of the week."""
        return self._replace(week=(self.week / weeks).ceil())


def load_rossi() -> Rossi:
    """Give the data.

    References:
        Rossi, P. H., Berk, R. A., Lenihan, K. J.: Money, work and crime: some experimental results.
        Academic Press, 1980.

    Example:
        >>> rossi = load_rossi()
        >>> int(rossi.arrest.sum()), rossi.covariates.shape
        (114, torch.Size([432, 7]))
    """
    table = pandas.read_csv(_FILE)
    names = tuple(table.columns[2:])
    columns = torch.tensor(table.to_numpy(), dtype=torch.float64)
    return Rossi(names, columns[:, 0], columns[:, 1] == 1, columns[:, 2:])
