# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Imports run one way, and files are short enough to be read."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Each may import those before it, and itself.
LAYERS = [
    "pyro_drpm.types",
    "pyro_drpm.optional",
    "pyro_drpm.ops",
    "pyro_drpm.distributions",
    "pyro_drpm",  # the names that users import
    "pyro_drpm.infer",
    "pyro_drpm.partitions",
    "pyro_drpm.metrics",
    "models.training",
    "models.runs",
    "models.data",
    "models",
    "benchmarks",
    "tests",
]
FILES = sorted(
    path
    for folder in ("pyro_drpm", "models", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
)


def layer(module: str) -> int:
    """The most specific layer that a module is in."""
    fitting = [name for name in LAYERS if module == name or module.startswith(f"{name}.")]
    return LAYERS.index(max(fitting, key=len))


def module_of(path: Path) -> str:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_imports_run_one_way(path: Path) -> None:
    ours = [name for name in imports(path) if name.split(".")[0] in {"pyro_drpm", "models"}]
    assert all(layer(name) <= layer(module_of(path)) for name in ours), ours


def test_no_file_is_longer_than_400_lines() -> None:
    files = [*FILES, *(ROOT / "tests").rglob("*.py")]
    lengths = {
        module_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in files
    }
    assert {name: length for name, length in lengths.items() if length > 400} == {}
