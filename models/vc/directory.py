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

from pathlib import Path

from lightning.fabric.utilities import rank_zero_only

from models.runs import prepare_run
from models.vc.config import Config

__all__ = ["STAGES", "prepare_directory", "seed_directory"]

STAGES = ("pretrain", "vade", "vade-frozen", "drpm")
"""Names of the training stages of a seed, in order."""


def seed_directory(config: Config, seed: int) -> Path:
    """Directory of one repetition."""
    return config.out / f"seed-{seed}"


@rank_zero_only
def prepare_directory(config: Config) -> None:
    """Make the directory ready for a new run, or check that the run in it can be resumed.

    Raises:
        ValueError: If the directory holds something else than a run, or to resume, if there is no
            run, it has other settings, or a checkpoint is missing or damaged.
    """
    prepare_run(
        config.out,
        config.to_json(),
        config.resume,
        repetitions=[seed_directory(config, seed).name for seed in config.all_seeds],
        stages=STAGES,
        results=["metrics.csv"],
    )
    for seed in config.all_seeds:
        _check_order(seed_directory(config, seed))


def _check_order(directory: Path) -> None:
    """Every stage starts from what the stages before it have trained."""
    paths = [directory / f"{name}.ckpt" for name in STAGES]
    for path, later in zip(paths, paths[1:], strict=False):
        if later.exists() and not path.exists():
            raise ValueError(f"checkpoint {path} is missing, which {later.name} builds on")
