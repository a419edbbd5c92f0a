# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Rankings from files in the format of PrefLib, some of which come with the models."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

__all__ = ["Ballots", "DatasetName", "Unranked", "load_ballots", "read_preflib"]

DatasetName = Literal["mariner", "debian"]
Unranked = Literal["last", "absent"]

_FOLDER = Path(__file__).parent
_FILES: dict[DatasetName, str] = {"mariner": "mariner.toc", "debian": "debian.soi"}
_NAME = re.compile(r"#\s*ALTERNATIVE NAME (\d+)\s*:\s*(.*)")
_NUMBER = re.compile(r"#\s*NUMBER ALTERNATIVES\s*:\s*(\d+)")
_GROUP = re.compile(r"\{([^{}]*)\}|([^,{}]+)")


class Ballots(NamedTuple):
    """Rankings of the same alternatives.

    Attributes:
        names: Of the ``n`` alternatives.
        value: Numbers of groups, shape ``(ballots, n)``: 0 for the best, -1 for who is absent.
        voters: How many gave each ranking, shape ``(ballots,)``, float64.
    """

    names: tuple[str, ...]
    value: Tensor
    voters: Tensor

    def broken(self, generator: torch.Generator) -> Ballots:
        """The same with ties broken at random, as programs without ties need it."""
        noise = torch.rand(self.value.shape, generator=generator)
        ranks = (self.value + noise).argsort(-1).argsort(-1)
        # Those who are absent have been counted from 0.
        first = (self.value < 0).sum(-1, keepdim=True)
        return self._replace(value=torch.where(self.value < 0, -1, ranks - first))

    def without(self, ballot: int) -> Ballots:
        """All but one."""
        kept = torch.arange(len(self.value)) != ballot
        return self._replace(value=self.value[kept], voters=self.voters[kept])


def load_ballots(name: DatasetName, unranked: Unranked = "last") -> Ballots:
    """Give rankings that come with the models.

    Args:
        name: ``"mariner"``: how ten teams of scientists ranked 32 trajectories of what became the
            Voyager mission, many of them alike. ``"debian"``: 475 ballots for the leader of the
            Debian project in 2002, many of them with one or two names.
        unranked: As in :func:`read_preflib`.

    Raises:
        ValueError: If there are no such rankings.

    References:
        Dyer, J. S., Miles, R. F.: An actual application of collective choice theory to the
        selection of trajectories for the Mariner Jupiter/Saturn 1977 project. Operations Research
        24, 1976.

        Mattei, N., Walsh, T.: PrefLib: a library for preferences. ADT 2013 (both, and the format).

    Example:
        >>> load_ballots("mariner").value.shape
        torch.Size([10, 32])
    """
    if name not in _FILES:
        raise ValueError(f"rankings must be one of {', '.join(_FILES)}, but are {name!r}")
    return read_preflib(_FOLDER / _FILES[name], unranked)


def read_preflib(path: Path, unranked: Unranked = "last") -> Ballots:
    """Read rankings from ``.soc``, ``.soi``, ``.toc`` and ``.toi``: incomplete or not, tied or not.

    A line ``3: 2,{1,4}`` says that three voters put the second alternative first, and then the
    first and the fourth, in no order.

    Args:
        path: Of the file.
        unranked: Whether alternatives that a voter does not mention are behind all others, in a
            last group, or did not stand for election.

    Raises:
        ValueError: If the file cannot be read, or a line is none of this format.
    """
    if unranked not in get_args(Unranked):
        raise ValueError(f"unranked must be last or absent, but is {unranked!r}")
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read {path}: {error}") from None
    names = {match[1]: match[2] for match in _matches(_NAME, lines)}
    numbers = [int(match[1]) for match in _matches(_NUMBER, lines)]
    if not names and not numbers:
        raise ValueError(f"{path} must have lines '# NUMBER ALTERNATIVES: ...', but has none")
    n = numbers[0] if numbers else len(names)
    rankings = [
        _parsed(f"line {at} of {path}", line, n)
        for at, line in enumerate(lines, 1)
        if line.strip() and not line.startswith("#")
    ]
    if not rankings:
        raise ValueError(f"{path} must have rankings, as 3: 2,{{1,4}}, but has none")
    value = torch.tensor([_numbered(groups, n, unranked) for _, groups in rankings])
    voters = torch.tensor([number for number, _ in rankings], dtype=torch.float64)
    every = tuple(names.get(str(i), str(i)) for i in range(1, n + 1))
    return Ballots(every, value, voters)


def _matches(pattern: re.Pattern[str], lines: Sequence[str]) -> Iterator[re.Match[str]]:
    return filter(None, map(pattern.match, lines))


def _parsed(where: str, line: str, n: int) -> tuple[int, list[list[int]]]:
    """How many voters, and the groups."""
    count, colon, ranking = line.partition(":")
    try:
        groups = [
            [int(entry) for entry in (inside or single).split(",") if entry.strip()]
            for inside, single in _GROUP.findall(ranking)
        ]
        number = int(count)
    except ValueError:
        number = 0
    if not colon or number < 1:
        raise ValueError(f"{where} must be a ranking, as 3: 2,{{1,4}}, but is {line!r}")
    mentioned = [i for group in groups for i in group]
    if len(set(mentioned)) < len(mentioned) or not set(mentioned) <= set(range(1, n + 1)):
        raise ValueError(f"{where} must have each of 1 to {n} once at most, but is {line!r}")
    return number, [group for group in groups if group]


def _numbered(groups: list[list[int]], n: int, unranked: Unranked) -> list[int]:
    value = [len(groups) if unranked == "last" else -1] * n
    for number, group in enumerate(groups):
        for i in group:
            value[i - 1] = number
    return value
