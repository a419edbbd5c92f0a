# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The directory of a run.

A run repeats the same training stages, with several seeds for example, and every repetition has a
directory of its own::

    out/
      config.json    the settings
      <results>      what all repetitions together give, such as table1.csv
      <repetition>/  checkpoints <stage>.ckpt and whatever else a repetition writes
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.fabric.utilities import rank_zero_only

from models.training.stages import read_checkpoint

__all__ = ["check_settings", "prepare_run", "read_settings"]


@rank_zero_only
def prepare_run(
    out: Path,
    settings: str,
    resume: bool,
    *,
    repetitions: Sequence[str],
    stages: Sequence[str],
    results: Sequence[str],
) -> None:
    """Make a directory ready for a new run, or check that the run in it can be resumed.

    An old run is removed: its results and all its repetitions, which are the directories that are
    named like those of the new run but for the numbers. Other files stay. Of several processes that
    train together the first does all this.

    Args:
        out: Directory of the run.
        settings: What the results depend on, a JSON object.
        resume: Whether to go on with the run that is there.
        repetitions: Directories of the repetitions relative to ``out``, such as ``"seed-0"`` or
            ``"n_shared-1/seed-0"``.
        stages: Names of the training stages of a repetition.
        results: Other files that a run writes, relative to ``out``.

    Raises:
        ValueError: If the directory holds something else than a run, or to resume, if there is no
            run, it has other settings, or a checkpoint is damaged.
    """
    if resume:
        check_settings(out, json.loads(settings))
        for path in (out / name / f"{stage}.ckpt" for name in repetitions for stage in stages):
            if path.exists():
                read_checkpoint(path)
        return
    _remove_old_run(out, repetitions, results)
    for name in repetitions:
        (out / name).mkdir(parents=True)
    (out / "config.json").write_text(settings)


def _remove_old_run(out: Path, repetitions: Sequence[str], results: Sequence[str]) -> None:
    if not out.exists() or not any(out.iterdir()):
        return
    old = _find_repetitions(out, repetitions)
    # The name config.json alone is too common to tell a run by.
    if not (out / "config.json").is_file() or not old:
        raise ValueError(f"{out} holds other files than a run: give another directory with --out")
    for name in results:
        (out / name).unlink(missing_ok=True)
    for repetition in old:
        shutil.rmtree(repetition)
        for parent in repetition.parents:
            if parent == out or any(parent.iterdir()):
                break
            parent.rmdir()


def _find_repetitions(out: Path, names: Sequence[str]) -> list[Path]:
    """Directories that are named like the repetitions of a run, but for the numbers."""
    patterns = {_pattern(name) for name in names}
    return [
        path
        for pattern in patterns
        for path in out.glob(pattern)
        if path.is_dir() and _pattern(path.relative_to(out).as_posix()) == pattern
    ]


def _pattern(name: str) -> str:
    return re.sub(r"\d+", "*", name)


def read_settings(out: Path) -> dict[str, Any]:
    """Give the settings of the run in a directory.

    Raises:
        ValueError: If there is no run, or its settings cannot be read.
    """
    stored = out / "config.json"
    if not stored.is_file():
        raise ValueError(f"there is no run in {out}: {stored} is missing")
    try:
        settings = json.loads(stored.read_text())
    except ValueError as error:
        raise ValueError(f"{stored} cannot be read: it is truncated or corrupt") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{stored} must hold settings by their names")
    return settings


def check_settings(out: Path, settings: Mapping[str, Any]) -> None:
    """Check that the run in a directory has the same settings, for some of them.

    Raises:
        ValueError: If there is no run, or one with other settings.
    """
    before = read_settings(out)
    for name, now in settings.items():
        if before.get(name) != now:
            raise ValueError(
                f"the run in {out} has {name} = {before.get(name)}, not {now}: give the same "
                "settings"
            )
