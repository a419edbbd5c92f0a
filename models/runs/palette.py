# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Colours that the colour-blind can tell apart, and markers for print.

References:
    Okabe, M., Ito, K.: Color universal design. 2008.
"""

from __future__ import annotations

from typing import Any

__all__ = ["COLORS", "MARKERS", "style"]

COLORS = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#F0E442"]
MARKERS = "os^vDP*X<>"


def style(number: int) -> dict[str, Any]:
    """Give colour and marker of a series, different ones for the first forty.

    Example:
        >>> style(0), style(8)
        ({'color': '#0072B2', 'marker': 'o'}, {'color': '#0072B2', 'marker': '<'})
    """
    return {"color": COLORS[number % len(COLORS)], "marker": MARKERS[number % len(MARKERS)]}
