# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Libraries that come with an extra of the package and are imported when they are needed."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["require"]


def require(module: str, extra: str) -> Any:
    """Import a module.

    Args:
        module: Its full name.
        extra: The extra of the package that brings it.

    Raises:
        ImportError: If it cannot be imported, with the command that installs it.

    Example:
        >>> require("math", "metrics").sqrt(4.0)
        2.0
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{module.split('.')[0]} is needed, but cannot be imported: install the extra with "
            f"pip install 'pyro-drpm[{extra}]'"
        ) from error
