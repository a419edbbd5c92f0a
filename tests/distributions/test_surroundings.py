# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Nothing changes under autocast, nor with another default device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from pyro_drpm import DRPM, MultivariateFisherHypergeometric, PlackettLuce
from pyro_drpm.distributions import TiedPlackettLuce

# In bfloat16 257 is 256, and a sum over 600 elements is right to one part in a hundred.
K, N = 300, 600


@contextmanager
def autocast() -> Iterator[None]:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        yield


@contextmanager
def default_device() -> Iterator[None]:
    with torch.device("meta"):
        yield


def test_autocast_rounds() -> None:
    with autocast():
        assert (torch.tensor([[257.0]]) @ torch.tensor([[1.0]])).item() == 256


def parameters() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    log_omega, log_s = (torch.randn(size, generator=generator) for size in (K, N))
    return log_omega.requires_grad_(), log_s.requires_grad_()


LABELS = torch.randint(K, (N,), generator=torch.Generator().manual_seed(1))
VALUE = torch.nn.functional.one_hot(LABELS, K).mT.float()
ORDER = LABELS.argsort()


def drpm(log_omega: Tensor, log_s: Tensor, **options: Any) -> DRPM:
    return DRPM(log_omega=log_omega, log_s=log_s, **options)


def sizes(log_omega: Tensor, log_s: Tensor) -> MultivariateFisherHypergeometric:
    return MultivariateFisherHypergeometric(N, log_omega=log_omega + 0 * log_s.sum())


def ordering(log_omega: Tensor, log_s: Tensor) -> PlackettLuce:
    return PlackettLuce(log_s=log_s + 0 * log_omega.sum())


def ties(log_omega: Tensor, log_s: Tensor) -> TiedPlackettLuce:
    return TiedPlackettLuce(log_s=log_s + 0 * log_omega.sum())


Use = Callable[..., Any]
USES: dict[str, Use] = {
    "drpm-flow": lambda *p: drpm(*p).rsample(),
    "drpm-relaxed": lambda *p: drpm(*p, gradient="relaxed").rsample(),
    "drpm-soft": lambda *p: drpm(*p, hard=False).rsample(),
    "drpm-sample": lambda *p: drpm(*p).sample((2,)),
    "drpm-noiseless": lambda *p: drpm(*p).noiseless,
    "drpm-log_prob": lambda *p: drpm(*p).log_prob(VALUE),
    "drpm-log_prob-soft": lambda *p: drpm(*p, hard=False).log_prob(VALUE),
    "drpm-bounds": lambda *p: torch.stack(drpm(*p).log_prob_bounds(VALUE, bound="tight")),
    "sizes-rsample": lambda *p: sizes(*p).rsample(),
    "sizes-log_prob": lambda *p: sizes(*p).log_prob(VALUE.sum(-1)),
    "sizes-mean": lambda *p: sizes(*p).mean,
    "sizes-variance": lambda *p: sizes(*p).variance,
    "sizes-mode": lambda *p: sizes(*p).mode,
    "ordering-sample": lambda *p: ordering(*p).sample(),
    "ordering-mode": lambda *p: ordering(*p).mode,
    "ordering-log_prob": lambda *p: ordering(*p).log_prob(ORDER),
    "ties-log_prob": lambda *p: ties(*p).log_prob(LABELS),
}


def outcome(use: Use) -> list[Tensor]:
    """A result and its gradients."""
    torch.manual_seed(0)
    leaves = parameters()
    result = use(*leaves)
    if not result.requires_grad:
        return [result]
    weights = torch.arange(result.numel(), device="cpu").view_as(result) / result.numel()
    total = (result * weights).sum()
    return [result, *torch.autograd.grad(total, leaves, materialize_grads=True)]


@pytest.mark.parametrize("surroundings", [autocast, default_device])
@pytest.mark.parametrize("name", USES)
def test_nothing_changes(
    name: str, surroundings: Callable[[], Any], request: pytest.FixtureRequest
) -> None:
    expected = outcome(USES[name])

    def with_own_tensors(log_omega: Tensor, log_s: Tensor) -> Any:
        with surroundings():
            return USES[name](log_omega, log_s)

    torch.testing.assert_close(outcome(with_own_tensors), expected, rtol=0, atol=0)


def test_backward_under_autocast() -> None:
    def relaxed(log_omega: Tensor, log_s: Tensor) -> Tensor:
        return drpm(log_omega, log_s, gradient="relaxed").rsample()

    expected = outcome(relaxed)
    with autocast():
        torch.testing.assert_close(outcome(relaxed), expected, rtol=0, atol=0)
