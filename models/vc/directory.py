# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The directory of a run.

::

    runs/vc/digits/
      config.json  table1.csv
      contrastive/seed-0/  pretrain.ckpt  vade.ckpt  ...  drpm.ckpt  curves.csv
                           curves.png  partition.png  samples.png  logs/ (TensorBoard)
      neighbors/seed-0/    pretrain.ckpt  pretrain-clusters.ckpt  and the like
    runs/vc/own/flowers/
      config.json  clusters.csv  model.pt  projection.png  profiles.png
      components/seed-0/   drpm.ckpt  curves.csv  curves.png  logs/
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from lightning.fabric.utilities import rank_zero_only

from models.runs.directory import check_settings
from models.runs.jobs import prepare_jobs
from models.training.stages import read_checkpoint
from models.vc.config import Config
from models.vc.experiment import Job
from models.vc.pretrainings import PRETRAININGS

__all__ = ["TABLE", "prepare_directory"]

TABLE = "table1.csv"


@rank_zero_only
def prepare_directory(
    config: Config, jobs: Sequence[Job], results: Sequence[str] = (TABLE,)
) -> None:
    """Make the directory ready for a new run, or check that the run in it can be resumed.

    Args:
        config: Settings of the run.
        jobs: What to train.
        results: Other files that the run writes.

    Raises:
        ValueError: If the directory holds something else than a run, or to resume, if there is no
            run, it has other settings, or a checkpoint is missing or damaged; or if there are no
            pretrained weights of the same settings in the directory that was given for them.
    """
    pretrained = [] if config.resume else list(_pretrained(config, jobs))
    prepare_jobs(config, jobs, results=results)
    for job, path in pretrained:
        shutil.copy(path, config.out / job.repetition)
    for job in jobs:
        _check_order(config.out / job.repetition, job)


def _pretrained(config: Config, jobs: Sequence[Job]) -> Iterator[tuple[Job, Path]]:
    """Checkpoints of the pretraining of another run."""
    if config.pretrained is None:
        return
    settings = json.loads(config.to_json())
    weights_depend_on = ("dataset", *config.pretraining.flat(), *config.networks.flat())
    check_settings(config.pretrained, {name: settings[name] for name in weights_depend_on})
    for job in jobs:
        for stage in PRETRAININGS[job.pretraining]:
            path = config.pretrained / job.repetition / f"{stage}.ckpt"
            if not path.is_file():
                raise ValueError(f"there are no pretrained weights: {path} is missing")
            read_checkpoint(path)
            yield job, path


def _check_order(directory: Path, job: Job) -> None:
    """Every stage starts from the pretrained weights."""
    paths = [directory / f"{stage}.ckpt" for stage in job.stages]
    for i, first in enumerate(paths[: len(PRETRAININGS[job.pretraining])]):
        for path in paths[i + 1 :]:
            if path.exists() and not first.exists():
                raise ValueError(f"checkpoint {first} is missing, which {path.name} builds on")
