# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Stages of a run that cannot go on with the settings they have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

__all__ = ["StageError", "require_finite", "stage_errors"]


class StageError(Exception):
    """A stage of a run failed for a reason that other settings may put right."""


@contextmanager
def stage_errors(stage: str, remedy: str) -> Iterator[None]:
    """Turn a :class:`ValueError`, which is how numbers out of range show, into one line.

    Args:
        stage: Name of the stage.
        remedy: What to do about it.

    Raises:
        StageError: With the stage, the first line of what was wrong, and the remedy.

    Example:
        >>> with stage_errors("fit", "fewer clusters may help"):
        ...     raise ValueError("cluster 3 is empty")
        Traceback (most recent call last):
        models.training.failures.StageError: stage fit: cluster 3 is empty; fewer clusters may help
    """
    try:
        yield
    except ValueError as error:
        reason = str(error).partition("\n")[0].rstrip(".:")
        raise StageError(f"stage {stage}: {reason}; {remedy}") from error


def require_finite(what: str, values: Tensor) -> None:
    """Check that numbers are neither infinite nor nan; raise :class:`ValueError` otherwise."""
    if not values.isfinite().all():
        raise ValueError(f"{what} are not finite")
