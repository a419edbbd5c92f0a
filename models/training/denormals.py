# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Numbers too small to be worth their time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["denormals_flushed"]


@contextmanager
def denormals_flushed() -> Iterator[None]:
    """Denormal numbers, below 1.2e-38 in float32, count as zero on the CPU, in this thread.

    Operations on them take a hundred times as long, and the gradients of pixels that are all but
    sure to be black or white are full of them.

    Example:
        >>> x = torch.tensor(1e-40)
        >>> with denormals_flushed():
        ...     print((2 * x == 0).item())
        True
        >>> (2 * x == 0).item()
        False
    """
    before = _are_flushed()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


def _are_flushed() -> bool:
    smallest = torch.tensor(torch.finfo(torch.float32).tiny)
    return bool(smallest / 2 == 0)
