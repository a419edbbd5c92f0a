# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Nothing changes under autocast, with products in TF32, nor with another default device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

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


class TF32(TorchDispatchMode):
    """Products of float32 matrices as on a GPU after ``set_float32_matmul_precision("high")``."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func.overloadpacket in PRODUCTS:
            args = tuple(ten_bits(x) if isinstance(x, Tensor) else x for x in args)
        return func(*args, **(kwargs or {}))


aten = torch.ops.aten
PRODUCTS = {aten.mm, aten.bmm, aten.addmm, aten.baddbmm, aten.mv, aten.addmv, aten.dot}


def ten_bits(x: Tensor) -> Tensor:
    """The nearest numbers with ten bits behind the point."""
    if x.dtype != torch.float32:
        return x
    bits = x.contiguous().view(torch.int32)
    return ((bits + (1 << 12)) & ~((1 << 13) - 1)).view(torch.float32)


def test_tf32_rounds() -> None:
    with TF32():
        assert (torch.tensor([[2049.0]]) @ torch.tensor([[1.0]])).item() == 2050
        assert (torch.tensor([[2049.0]]).double() @ torch.ones(1, 1).double()).item() == 2049


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


def mass_of_draw(d: DRPM) -> Tensor:
    return d.log_prob(d.rsample())


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
    "drpm-relaxed-warm": lambda *p: drpm(*p, gradient="relaxed", temperature=1e3).rsample(),
    "drpm-soft": lambda *p: drpm(*p, hard=False).rsample(),
    "drpm-soft-warm": lambda *p: drpm(*p, hard=False, temperature=1e3).rsample(),
    "drpm-sample": lambda *p: drpm(*p).sample((2,)),
    "drpm-noiseless": lambda *p: drpm(*p).noiseless,
    "drpm-log_prob": lambda *p: drpm(*p).log_prob(VALUE),
    "drpm-log_prob-soft": lambda *p: drpm(*p, hard=False).log_prob(VALUE),
    "drpm-log_prob-of-draw": lambda *p: mass_of_draw(drpm(*p)),
    "drpm-log_prob-of-soft-draw": lambda *p: mass_of_draw(drpm(*p, hard=False)),
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
    weights = torch.arange(1, result.numel() + 1, device="cpu").view_as(result) / result.numel()
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


@pytest.mark.parametrize("name", USES)
def test_nothing_changes_in_tf32(name: str) -> None:
    expected = outcome(USES[name])
    with TF32():
        found = outcome(USES[name])
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_backward_under_autocast() -> None:
    def relaxed(log_omega: Tensor, log_s: Tensor) -> Tensor:
        return drpm(log_omega, log_s, gradient="relaxed").rsample()

    expected = outcome(relaxed)
    with autocast():
        torch.testing.assert_close(outcome(relaxed), expected, rtol=0, atol=0)
