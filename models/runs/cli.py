# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""What the command lines of all models share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

import tyro

from models.runs.settings import Settings

__all__ = ["one_line_errors", "parse_settings"]

AnySettings = TypeVar("AnySettings", bound=Settings)


def parse_settings(
    prog: str,
    presets: Mapping[str, AnySettings],
    args: Sequence[str] | None = None,
    *,
    chosen_by: Sequence[str] = ("dataset",),
) -> AnySettings:
    """Read the settings, with the defaults of the dataset that the arguments name.

    Args:
        prog: The command, for the help.
        presets: Sets of defaults. The first is taken that agrees with the arguments in what it is
            chosen by.
        args: The arguments; those of the process if not given.
        chosen_by: Settings that choose the defaults.

    Raises:
        ValueError: If a setting is out of its range, or there is no GPU to train on.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in chosen_by:
        parser.add_argument(f"--{name}")
    chosen = vars(parser.parse_known_args(args)[0]).items()

    def fits(preset: AnySettings) -> bool:
        return all(value in (None, getattr(preset, name)) for name, value in chosen)

    # No preset fits what is no choice at all, which tyro will say.
    preset = next(filter(fits, presets.values()), next(iter(presets.values())))
    settings = tyro.cli(
        type(preset),
        prog=prog,
        default=preset,
        args=args,
        # Groups of settings are for the reader of the code; options have the names of the settings.
        config=(tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes),
    )
    settings.validate()
    return settings


@contextmanager
def one_line_errors(kind: type[Exception] = ValueError) -> Iterator[None]:
    """End the process with one line and exit code 2 on an error that settings can put right.

    Args:
        kind: The error: a :class:`ValueError` where settings and files are read,
            :class:`~models.training.failures.StageError` where the stages of a run follow.
    """
    try:
        yield
    except kind as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
