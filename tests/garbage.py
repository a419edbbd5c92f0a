# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Tensors that refer to themselves, whose memory the garbage collector frees at some later time."""

from __future__ import annotations

import gc
from collections.abc import Callable

from torch import Tensor

__all__ = ["tensors_in_cycles"]


def tensors_in_cycles(run: Callable[[], object]) -> list[Tensor]:
    """Tensors that a run leaves to the garbage collector."""
    gc.freeze()  # what was there before is left out
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        run()
        gc.collect()
        return [x for x in gc.garbage if isinstance(x, Tensor)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.unfreeze()
