# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Imports between the rooms of ``models`` run one way."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

MODELS = Path(__file__).parents[2] / "models"
SHARED = {"data": set[str](), "training": set[str](), "runs": {"training"}}
ROOMS = sorted(path.parent.name for path in MODELS.glob("*/__init__.py"))


def imported_modules(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_the_shared_ones_and_no_other(room: str) -> None:
    allowed = {room} | SHARED.get(room, set(SHARED))
    for path in (MODELS / room).glob("*.py"):
        for module in imported_modules(path.read_text()):
            package, _, name = module.partition(".")
            assert package != "models" or name.partition(".")[0] in allowed, (path, module)


def test_there_are_rooms() -> None:
    rooms = {
        "data",
        "training",
        "runs",
        "vc",
        "vae",
        "mtl",
        "elections",
        "known_sizes",
        "survival",
        "rankings",
    }
    assert rooms <= set(ROOMS)
