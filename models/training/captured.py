# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Training steps that are captured in CUDA graphs.

A step of small networks and a partition is a thousand small kernels. A GPU is done with one before
Python has launched the next; replayed as a graph they follow each other at once.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.optim import Optimizer

from models.training.batches import ShuffledBatches
from models.training.losses import LossTraining, per_epoch

__all__ = ["CapturedTraining", "WholeEpochs", "capture", "warm_up"]


def warm_up(run: Callable[[], object]) -> None:
    """Run on a stream that is not the usual one, as captures ask for."""
    stream, usual = torch.cuda.Stream(), torch.cuda.current_stream()
    stream.wait_stream(usual)
    with torch.cuda.stream(stream):
        run()
    usual.wait_stream(stream)


def capture(run: Callable[[], object]) -> torch.cuda.CUDAGraph:
    """Give the kernels of a run, which are not launched yet; it has been warmed up before."""
    graph = torch.cuda.CUDAGraph()
    # PyTorch keeps a workspace of cuBLAS for each stream: graphs that are captured on streams of
    # their own do not share it. Other threads may go on with what they do.
    stream = torch.cuda.Stream()
    with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
        run()
    return graph


class WholeEpochs:
    """One batch an epoch: the order of all rows.

    Args:
        batches: The batches that an epoch consists of.
    """

    def __init__(self, batches: ShuffledBatches) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Tensor]:
        yield self.batches.order()


class CapturedTraining(LightningModule):
    """Another training, whose steps on a GPU are replayed; for Lightning, an epoch is one batch.

    The first step of every batch size is done as usual, the second is captured, and the others are
    replayed. Rows are changed at random once an epoch, all together. On a CPU no step is captured.

    Checkpoints are those of the other training.

    Args:
        captured: The training; its parameters and its optimiser's moments must stay the same
            tensors.
        batches: Its batches.
    """

    def __init__(self, captured: LossTraining, batches: ShuffledBatches) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.captured = captured
        self.batches = batches
        self.rows: tuple[Tensor, ...] = ()
        self.totals: dict[str, Tensor] = {}
        self.steps: dict[int, _Step] = {}

    @property
    def optimizer(self) -> Optimizer:
        """The one of the other training."""
        (optimizer,) = self.trainer.optimizers
        return optimizer

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return self.captured.state_dict(*args, **kwargs)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return self.captured.load_state_dict(*args, **kwargs)

    def configure_optimizers(self) -> Any:
        return self.captured.configure_optimizers()

    def on_train_start(self) -> None:
        """Keep the learning rate where graphs read it anew."""
        for group in self.optimizer.param_groups:
            group["capturable"] = self.device.type == "cuda"
            group["lr"] = torch.tensor(float(group["lr"]), device=self.device)

    def on_train_epoch_start(self) -> None:
        self.captured.on_train_epoch_start()

    def training_step(self, order: Tensor, batch_idx: int) -> None:
        """Do all steps of an epoch."""
        self._change_rows()
        for total in self.totals.values():
            total.zero_()
        batches = self.batches.split(order)
        for batch in batches:
            size = len(batch)
            self.steps[size] = self.steps.get(size) or _Step(self._do_step, batch)
            self.steps[size](batch)
            self._end("step")
        self._end("epoch")
        number = sum(map(len, batches))
        self.log_dict({name: total / number for name, total in self.totals.items()}, **per_epoch(1))

    def _change_rows(self) -> None:
        """Draw the rows of the epoch into the tensors that the graphs read."""
        self.batches.tensors = tuple(tensor.to(self.device) for tensor in self.batches.tensors)
        changed = self.captured.changed(self.batches.tensors)
        if not self.rows:
            self.rows = changed
        for held, new in zip(self.rows, changed, strict=True):
            if held is not new:
                held.copy_(new)

    def _do_step(self, index: Tensor) -> None:
        self.optimizer.zero_grad()
        losses = self.captured.losses(tuple(tensor[index] for tensor in self.rows))
        losses["loss"].backward()
        self.optimizer.step()
        self.captured.step += 1
        for name, loss in losses.items():
            if name not in self.totals:
                self.totals[name] = torch.zeros_like(loss, dtype=torch.double)
            self.totals[name] += len(index) * loss.detach()

    def _end(self, interval: str) -> None:
        for config in self.trainer.lr_scheduler_configs:
            if config.interval == interval:
                self.lr_scheduler_step(config.scheduler, None)


class _Step:
    """The step with a batch of one size.

    Args:
        run: Does the step for the rows of these indices.
        index: A batch of the size.
    """

    def __init__(self, run: Callable[[Tensor], None], index: Tensor) -> None:
        self.run = run
        self.index = index.clone()
        self.is_warm = False
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, index: Tensor) -> None:
        self.index.copy_(index)
        if index.device.type != "cuda":
            self.run(self.index)
        elif not self.is_warm:
            with warnings.catch_warnings():  # the optimiser's: it is to be captured, and is not yet
                warnings.filterwarnings("ignore", ".*capturable=True", UserWarning)
                warm_up(lambda: self.run(self.index))
            self.is_warm = True
        else:
            self.graph = self.graph or capture(lambda: self.run(self.index))
            self.graph.replay()
