# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""A training that a test starts in one process and in two.

``python -m tests.models.train_in_processes OUT DEVICES`` trains a regression with a partition
without noise on given batches, and leaves what each process has seen in ``OUT/seen-RANK.pt``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pyro
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from models.training.hardware import Hardware
from models.training.losses import per_epoch
from models.training.session import training_session
from models.training.stages import Stage
from pyro_drpm import DRPM

K, N, STEPS, ROWS = 3, 5, 4, 6


class PartitionedRegression(LightningModule):
    """Predicts from the features of the first subset."""

    def __init__(self) -> None:
        super().__init__()
        self.log_omega, self.log_s = nn.Linear(2, K), nn.Linear(2, N)
        self.features, self.idle = nn.Linear(2, N), nn.Linear(2, 2)
        self.seen: list[Tensor] = []
        self.noise: list[Tensor] = []

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        rows, target = batch
        self.seen.append(rows)
        self.noise.append(torch.rand(3))
        partition = DRPM(log_omega=self.log_omega(rows), log_s=self.log_s(rows), hard=False)
        predicted = (self.features(rows) * partition.noiseless[:, 0]).sum(-1)
        loss = (predicted - target).square().mean()
        self.log("loss", loss, **per_epoch(len(rows)))
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 0.05)


def main(out: Path, devices: int) -> None:
    pyro.set_rng_seed(0)
    rows = torch.randn(STEPS, ROWS, 2)
    batches = list(zip(rows, rows.prod(-1), strict=True))
    module = PartitionedRegression()
    hardware = Hardware("cpu", devices)
    with training_session(hardware):
        Stage("fit", out, seed=0, epochs=2, hardware=hardware).fit(module, batches)
    torch.save((module.seen, module.noise), out / f"seen-{module.global_rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
