# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""An error for whoever moves values from the host to a device, which makes a GPU wait.

Numbers that a kernel is launched with are moved as well, without a wait; so those are allowed, and
tensors of one value on the host among them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["no_host_copies"]

# Numbers become tensors here, on the host at first.
_MAKERS = {torch.tensor, torch.as_tensor, torch.asarray, torch.Tensor.new_tensor}
_COPIES = {torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default}
_INDEXING = {torch.Tensor.__getitem__, torch.Tensor.__setitem__}


@contextmanager
def no_host_copies() -> Iterator[None]:
    """Values that are moved from the host are an error."""
    with _Functions(), _Operations():
        yield


class _Functions(TorchFunctionMode):
    """Looks at what has no operation of its own."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in _MAKERS and result.device.type != "cpu":
            values = args[func is torch.Tensor.new_tensor]  # behind the tensor that is asked
            if not isinstance(values, Tensor) or _is_on_host(values):
                raise _moved(func)
        if func in _INDEXING and args[0].device.type != "cpu":
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            if any(isinstance(x, list) or _is_on_host(x) for x in index):
                raise _moved(func)
        return result


class _Operations(TorchDispatchMode):
    """Looks at all operations."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        moved = any(_is_on_host(x) and (x.dim() or func in _COPIES) for x in args)
        if moved and isinstance(result, Tensor) and result.device.type != "cpu":
            raise _moved(func)
        return result


def _is_on_host(x: object) -> bool:
    return isinstance(x, Tensor) and x.device.type == "cpu"


def _moved(func: Any) -> RuntimeError:
    return RuntimeError(f"{func} moves values from the host")
