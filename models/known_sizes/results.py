# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Scores of a method from a start."""

from __future__ import annotations

from typing import NamedTuple

from models.known_sizes.data import DataName
from models.known_sizes.evaluate import Scores
from models.known_sizes.methods import MethodName
from models.known_sizes.starts import StartName

__all__ = ["Result"]


class Result(NamedTuple):
    """Scores of a method from a start."""

    dataset: DataName
    start: StartName
    method: MethodName
    seed: int
    scores: Scores
    seconds: float
