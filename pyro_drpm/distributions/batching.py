# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Batch shapes of expanded copies."""

from __future__ import annotations

from collections.abc import Sequence

import torch

__all__ = ["expanded_batch_shape"]


def expanded_batch_shape(owner: str, batch_shape: torch.Size, wanted: Sequence[int]) -> torch.Size:
    """The batch shape of an expanded copy.

    Raises:
        ValueError: If ``batch_shape`` does not broadcast to ``wanted``.
    """
    try:
        fits = torch.broadcast_shapes(batch_shape, tuple(wanted)) == tuple(wanted)
    except RuntimeError:
        fits = False
    if not fits:
        raise ValueError(
            f"{owner}: expected to be expanded to a shape that batch shape {tuple(batch_shape)} "
            f"broadcasts to, but got {tuple(wanted)}."
        )
    return torch.Size(wanted)
