# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The directory of a run.

::

    runs/vc/digits/
      config.json  metrics.csv
      seed-0/      pretrain.ckpt  vade.ckpt  vade-frozen.ckpt  drpm.ckpt  curves.csv
                   figures/  logs/ (TensorBoard)
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from models.vc.config import Config
from models.vc.stages import check_checkpoint

__all__ = ["STAGES", "prepare_directory", "seed_directory"]

STAGES = ("pretrain", "vade", "vade-frozen", "drpm")
"""Names of the training stages of a seed, in order."""


def seed_directory(config: Config, seed: int) -> Path:
    """Directory of one repetition."""
    return config.out / f"seed-{seed}"


def prepare_directory(config: Config) -> None:
    """Make the directory ready for a new run, or check that the run in it can be resumed.

    Raises:
        ValueError: If the directory holds something else than a run, or to resume, if there is no
            run, it has other settings, or a checkpoint is missing or damaged.
    """
    if config.resume:
        _check_resumable(config)
        return
    _remove_old_run(config.out)
    for seed in range(config.seed, config.seed + config.seeds):
        seed_directory(config, seed).mkdir(parents=True)
    (config.out / "config.json").write_text(config.to_json())


def _remove_old_run(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} must be a directory, but is a file")
    if not out.exists() or not any(out.iterdir()):
        return
    if not (out / "config.json").is_file():
        raise ValueError(f"{out} holds other files than a run: give another directory with --out")
    for repetition in out.glob("seed-*"):
        shutil.rmtree(repetition)
    (out / "metrics.csv").unlink(missing_ok=True)


def _check_resumable(config: Config) -> None:
    stored = config.out / "config.json"
    if not stored.is_file():
        raise ValueError(f"there is no run to resume: {stored} is missing")
    try:
        before = json.loads(stored.read_text())
    except ValueError as error:
        raise ValueError(f"{stored} cannot be read: it is truncated or corrupt") from error
    for name, now in json.loads(config.to_json()).items():
        if before.get(name) != now:
            raise ValueError(
                f"the run in {config.out} has {name} = {before.get(name)}, not {now}: resume it "
                "with the same settings"
            )
    for seed in range(config.seed, config.seed + config.seeds):
        _check_checkpoints(seed_directory(config, seed))


def _check_checkpoints(directory: Path) -> None:
    paths = [directory / f"{name}.ckpt" for name in STAGES]
    for path, later in zip(paths, paths[1:], strict=False):
        if later.exists() and not path.exists():
            raise ValueError(f"checkpoint {path} is missing, which {later.name} builds on")
    for path in paths:
        if path.exists():
            check_checkpoint(path)
