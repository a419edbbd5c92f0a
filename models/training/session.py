# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The state that a process needs while it trains."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pyro

from models.training.hardware import Hardware

__all__ = ["training_session"]


@contextmanager
def training_session(hardware: Hardware) -> Iterator[None]:
    """Start all processes, keep Lightning quiet and Pyro's parameters where optimisers find them.

    Args:
        hardware: Where the trainings of the session run.
    """
    loggers = [logging.getLogger(f"lightning.{part}") for part in ("pytorch", "fabric")]
    levels = [logger.level for logger in loggers]
    # Below this level it tells about accelerators and gives tips; progress bars suffice.
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings(), pyro.settings.context(module_local_params=True):
            warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)
            with hardware.processes():
                yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
