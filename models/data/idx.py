# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The IDX format, in which MNIST and its successors are published."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["read_idx"]

_UNSIGNED_BYTE = 0x08


def read_idx(path: Path, ndim: int) -> NDArray[np.uint8]:
    """Read an array of unsigned bytes from an IDX file, plain or compressed by gzip.

    The header is two zero bytes, the type code, the number of dimensions and every dimension as a
    big-endian 32-bit integer; the elements follow in row-major order.

    Args:
        path: The file.
        ndim: Number of dimensions that it must have: 3 for images, 1 for labels.

    Returns:
        A read-only array with ``ndim`` dimensions.

    Raises:
        ValueError: If the file is missing, truncated, corrupt or of another type or shape.
    """
    content = _read(path)
    magic = bytes([0, 0, _UNSIGNED_BYTE, ndim])
    if content[:4] != magic:
        raise ValueError(
            f"{path} is not an IDX file of unsigned bytes with {ndim} dimension(s): it must start "
            f"with the bytes {magic.hex(' ')}, but starts with {content[:4].hex(' ') or 'nothing'}"
        )
    header, payload = content[4 : 4 + 4 * ndim], content[4 + 4 * ndim :]
    if len(header) < 4 * ndim:
        raise ValueError(f"{path} is truncated: it ends within its header of {4 + 4 * ndim} bytes")
    shape = tuple(int(size) for size in np.frombuffer(header, dtype=">u4"))
    if len(payload) != math.prod(shape):
        raise ValueError(
            f"{path} must hold {math.prod(shape)} bytes after its header, which announces the "
            f"shape {shape}, but holds {len(payload)}"
        )
    return np.frombuffer(payload, dtype=np.uint8).reshape(shape)


def _read(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    if not content.startswith(b"\x1f\x8b"):
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path} is truncated or corrupt: {error}") from error
