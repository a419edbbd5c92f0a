# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Who carried which state in the presidential elections of the United States, 1992 to 2024."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Elections", "load_elections"]

_STATES = (
    "AL AK AZ AR CA CO CT DE DC FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ "
    "NM NY NC ND OH OK OR PA RI SC SD TN TX UT VT VA WA WV WI WY"
)

# The candidate with most votes in the whole state; the District of Columbia counts as one.
_REPUBLICAN = {
    1992: "AL AK AZ FL ID IN KS MS NE NC ND OK SC SD TX UT VA WY",
    1996: "AL AK CO GA ID IN KS MS MT NE NC ND OK SC SD TX UT VA WY",
    2000: "AL AK AZ AR CO FL GA ID IN KS KY LA MS MO MT NE NV NH NC ND OH OK SC SD TN TX UT VA WV "
    "WY",
    2004: "AL AK AZ AR CO FL GA ID IN IA KS KY LA MS MO MT NE NV NM NC ND OH OK SC SD TN TX UT VA "
    "WV WY",
    2008: "AL AK AZ AR GA ID KS KY LA MS MO MT NE ND OK SC SD TN TX UT WV WY",
    2012: "AL AK AZ AR GA ID IN KS KY LA MS MO MT NE NC ND OK SC SD TN TX UT WV WY",
    2016: "AL AK AZ AR FL GA ID IN IA KS KY LA MI MS MO MT NE NC ND OH OK PA SC SD TN TX UT WV WI "
    "WY",
    2020: "AL AK AR FL ID IN IA KS KY LA MS MO MT NE NC ND OH OK SC SD TN TX UT WV WY",
    2024: "AL AK AZ AR FL GA ID IN IA KS KY LA MI MS MO MT NE NV NC ND OH OK PA SC SD TN TX UT WV "
    "WI WY",
}


class Elections(NamedTuple):
    """Observed partitions of the same elements.

    Attributes:
        years: Of the ``T`` elections.
        states: Abbreviations of the ``n`` states.
        partitions: Shape ``(T, 2, n)``, float64: row 0 of each matrix marks the states that the
            Republican candidate carried, row 1 those of the Democratic one.
    """

    years: tuple[int, ...]
    states: tuple[str, ...]
    partitions: Tensor


def load_elections() -> Elections:
    """Give all elections.

    Example:
        >>> elections = load_elections()
        >>> elections.partitions.shape
        torch.Size([9, 2, 51])
        >>> [elections.states[i] for i in elections.partitions[0, 0].nonzero().flatten()][:3]
        ['AL', 'AK', 'AZ']
    """
    states = tuple(_STATES.split())
    carried = [[state in votes.split() for state in states] for votes in _REPUBLICAN.values()]
    republican = torch.tensor(carried, dtype=torch.float64)
    partitions = torch.stack([republican, 1 - republican], 1)
    return Elections(tuple(_REPUBLICAN), states, partitions)
