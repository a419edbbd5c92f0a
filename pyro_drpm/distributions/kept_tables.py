# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The tables of a size distribution, kept for as long as they are true."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyro_drpm.ops import host
from pyro_drpm.ops.sizes.tables import SizeTables

__all__ = ["KeptTables"]


class _Kept(NamedTuple):
    tables: SizeTables
    versions: list[int | None]
    values: list[Tensor | None]


class KeptTables:
    """Tables computed when they are first asked for, and anew where parameters have changed.

    That a tensor was changed in place, as by an optimiser, torch counts; but not through ``.data``,
    and not in inference mode. Then the values are compared, where that does not have to wait for a
    device.

    Whoever asks says how they are computed. Were that kept, a law and its tables would refer to
    each other, and the memory of both would wait for the garbage collector.

    Args:
        parameters: What the tables depend on.
    """

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.parameters = parameters
        self._kept: _Kept | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": None}

    def get(self, build: Callable[[], SizeTables]) -> SizeTables:
        """The tables, with gradients where the parameters have them.

        Args:
            build: Computes them.
        """
        tables = self.known()
        if tables is None:
            tables = build()
            self._keep(tables)
        return tables

    def known(self) -> SizeTables | None:
        """The tables if they need not be computed."""
        # While a graph is compiled nobody knows whether parameters will have changed when it runs.
        if torch.compiler.is_compiling() or self._kept is None or self._have_changed(self._kept):
            return None
        tables = self._kept.tables
        wants_grad = torch.is_grad_enabled() and any(x.requires_grad for x in self.parameters)
        if wants_grad and not (tables.mass.requires_grad and _can_be_differentiated(tables.mass)):
            return None
        return tables

    def _keep(self, tables: SizeTables) -> None:
        if not torch.compiler.is_compiling():
            values = [x.detach().clone() if host.is_at_hand(x) else None for x in self.parameters]
            self._kept = _Kept(tables, [_version(x) for x in self.parameters], values)

    def _have_changed(self, kept: _Kept) -> bool:
        return any(
            version != _version(x)
            or (value is not None and host.is_at_hand(x) and not torch.equal(value, x))
            for x, version, value in zip(self.parameters, kept.versions, kept.values, strict=True)
        )


def _version(tensor: Tensor) -> int | None:
    """What changes when a tensor is changed in place; unknown for tensors of inference mode."""
    return None if tensor.is_inference() else tensor._version


def _can_be_differentiated(tensor: Tensor) -> bool:
    """Whether no backward pass has freed what that takes."""
    node: Any = tensor.grad_fn
    try:
        return node.saved_tensors is not None
    except RuntimeError:
        return False
