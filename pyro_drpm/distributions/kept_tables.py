# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The tables of a size distribution, kept for as long as they are true."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyro_drpm.ops.sizes.tables import SizeTables, fisher_tables

__all__ = ["KeptTables"]


class _Kept(NamedTuple):
    law: SizeTables
    version: int | None
    log_omega: Tensor | None


class KeptTables:
    """Tables that are computed when they are first asked for, and anew where weights have changed.

    That a tensor was changed in place, as by an optimiser, torch counts; but not through ``.data``,
    and not in inference mode. Then the values are compared, where that does not have to wait for a
    device.

    Args:
        log_omega: Log-weights, shape ``(*batch, K)``.
        capacities: Integers, broadcastable with ``(*batch, K)``.
        total: Number ``n`` of elements.
    """

    def __init__(self, log_omega: Tensor, capacities: Tensor, total: int) -> None:
        self.log_omega, self.capacities, self.total = log_omega, capacities, total
        self._kept: _Kept | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": None}

    def law(self) -> SizeTables:
        """The tables, with gradients where the weights have them."""
        law = self.known()
        if law is None:
            law = fisher_tables(self.log_omega, self.capacities, self.total)
            self._keep(law)
        return law

    def known(self) -> SizeTables | None:
        """The tables if they need not be computed."""
        # What changes in place while a graph is compiled is not known before it runs.
        if torch.compiler.is_compiling() or self._kept is None or self._have_changed(self._kept):
            return None
        law = self._kept.law
        wants_grad = torch.is_grad_enabled() and self.log_omega.requires_grad
        if wants_grad and not (law.mass.requires_grad and _can_be_differentiated(law.mass)):
            return None
        return law

    def _keep(self, law: SizeTables) -> None:
        if not torch.compiler.is_compiling():
            values = self.log_omega.detach().clone() if self._are_at_hand() else None
            self._kept = _Kept(law, _version(self.log_omega), values)

    def _have_changed(self, kept: _Kept) -> bool:
        if kept.version != _version(self.log_omega):
            return True
        if kept.log_omega is None or not self._are_at_hand():
            return False
        return not torch.equal(kept.log_omega, self.log_omega)

    def _are_at_hand(self) -> bool:
        """Whether the weights can be looked at without waiting and without being seen."""
        if torch.jit.is_tracing() or torch._C._functorch.is_functorch_wrapped_tensor(
            self.log_omega
        ):
            return False
        return self.log_omega.device.type == "cpu"


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
