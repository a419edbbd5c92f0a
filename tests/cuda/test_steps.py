# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Steps on a GPU: those of the CPU, without a wait, captured in a CUDA graph, and compiled."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode

from models.training.captured import capture, warm_up
from tests.cuda.marks import needs_gpu
from tests.cuda.steps import STEPS, Step
from tests.garbage import tensors_in_cycles
from tests.host_copies import no_host_copies
from tests.models.training_checks import as_on_a_gpu

CPU, META = torch.device("cpu"), torch.device("meta")
# What has to look at values on a GPU as well: exact means.
WAITING = {"means"}
# Without a GPU operations are recorded one by one, which takes long: some of the steps will do.
CAPTURED = (
    [name for name in STEPS if name not in WAITING]
    if torch.cuda.is_available()
    else ["draws-flow-20", "draws-relaxed-20", "elbo-exact-flow", "elbo-lemma-rloo", "vc-vade"]
)
# What is summed in float32 on a CPU, where a look at the scores says that it suffices.
IN_FLOAT32 = {"elbo-exact-flow"}


class RandomNumbersOfTheCPU(TorchDispatchMode):
    """Draws all random numbers on the CPU, from seed 0, and moves them."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(0)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return result
        name = func.overloadpacket.__name__
        drawn = result.new_empty(result.shape, device="cpu")
        if name == "exponential_":
            drawn.exponential_(generator=self.generator)
        elif name in {"rand", "rand_like", "uniform_", "uniform"}:
            drawn.uniform_(generator=self.generator)
        elif name in {"randn", "randn_like", "normal_", "normal"}:
            drawn.normal_(generator=self.generator)
        elif name == "bernoulli_":
            drawn.bernoulli_(*args[1:], generator=self.generator)
        elif name == "multinomial":
            drawn = torch.multinomial(args[0].cpu(), *args[1:], generator=self.generator)
        else:
            raise NotImplementedError(f"random numbers of {func}")
        return result.copy_(drawn)


def of_cpu_numbers(step: Step) -> tuple[Tensor, ...]:
    with RandomNumbersOfTheCPU():
        return tuple(result.cpu() for result in step())


@pytest.mark.parametrize("name", STEPS)
def test_the_same_as_on_the_cpu(
    name: str, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = STEPS[name]
    expected = of_cpu_numbers(make(CPU))
    if device == CPU and name not in WAITING:
        as_on_a_gpu(monkeypatch)
    found = of_cpu_numbers(make(device))
    assert len(found) == len(expected) > 1
    rtol = 1e-5 if name in IN_FLOAT32 else 1e-8
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=rtol, atol=1e-2 * rtol)


@contextmanager
def no_waiting() -> Iterator[None]:
    """Whoever waits for the GPU gets an error."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Synchronization debug mode", UserWarning)
            torch.cuda.set_sync_debug_mode("error")
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


# Cox's likelihood looks at the times once, before all steps.
@pytest.mark.parametrize("name", [n for n in STEPS if n not in {*WAITING, "cox-regression"}])
def test_nothing_is_read_and_nothing_moved(name: str) -> None:
    """On the meta device, which has shapes and no values, whoever asks for one gets an error."""
    step = STEPS[name](META)
    with no_host_copies():
        results = step()
    assert all(result.device == META for result in results)


@needs_gpu  # nothing else waits
@pytest.mark.parametrize("name", [name for name in STEPS if name not in WAITING])
def test_no_wait(name: str, device: torch.device) -> None:
    step = STEPS[name](device)
    step()  # libraries are loaded
    with no_waiting():
        step()


def captured(
    step: Step, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], tuple[Tensor, ...]]:
    """Give the step as a CUDA graph; without a GPU, its operations as they were recorded."""
    if device.type == "cuda":
        results: list[tuple[Tensor, ...]] = []
        warm_up(lambda: step())
        graph = capture(lambda: results.append(step()))

        def replay() -> tuple[Tensor, ...]:
            graph.replay()
            return results[0]

        return replay
    as_on_a_gpu(monkeypatch)
    step()
    recorded = make_fx(lambda: step())()

    def repeat() -> tuple[Tensor, ...]:
        with torch.no_grad():  # derivatives have been recorded
            return tuple(recorded())

    return repeat


@pytest.mark.parametrize("name", CAPTURED)
def test_capture(name: str, device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    step = STEPS[name](device)
    replay = captured(step, device, monkeypatch)
    for seed in range(3):
        torch.manual_seed(seed)
        expected = step()
        torch.manual_seed(seed)
        found = replay()
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)
        step.change_parameters()


@pytest.mark.parametrize("name", STEPS)
def test_memory_is_freed_at_once(
    name: str, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it is on the stream of a step before, once that is captured."""
    if device == CPU and name not in WAITING:
        as_on_a_gpu(monkeypatch)
    step = STEPS[name](device)
    assert not tensors_in_cycles(lambda: step())
