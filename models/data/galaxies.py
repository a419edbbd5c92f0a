# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Velocities of galaxies, the usual example of mixtures of unknown size."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["load_galaxies"]

# As in R's package MASS and in most analyses, where the 78th is 26960; Roeder has 26690.
_VELOCITIES = """
     9172  9350  9483  9558  9775 10227 10406 16084 16170 18419 18552 18600 18927 19052 19070 19330
    19343 19349 19440 19473 19529 19541 19547 19663 19846 19856 19863 19914 19918 19973 19989 20166
    20175 20179 20196 20215 20221 20415 20629 20795 20821 20846 20875 20986 21137 21492 21701 21814
    21921 21960 22185 22209 22242 22249 22314 22374 22495 22746 22747 22888 22914 23206 23241 23263
    23484 23538 23542 23666 23706 23711 24129 24285 24289 24366 24717 24990 25633 26960 26995 32065
    32789 34279
"""


def load_galaxies() -> Tensor:
    """Give the velocities of 82 galaxies in the Corona Borealis region.

    Returns:
        In 1000 km/s and in this order, shape ``(82,)``, float64.

    References:
        Roeder, K.: Density estimation with confidence sets exemplified by superclusters and voids
        in the galaxies. Journal of the American Statistical Association 85, 1990.

    Example:
        >>> load_galaxies()[:3]
        tensor([9.1720, 9.3500, 9.4830], dtype=torch.float64)
    """
    velocities = [int(velocity) for velocity in _VELOCITIES.split()]
    return torch.tensor(velocities, dtype=torch.float64) / 1000
