# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Moves at boundaries have the posterior for their law, to all digits.

All choices that they make are enumerated, so that a small bias cannot hide in noise.
"""

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pyro_drpm import DRPM, MultivariateFisherHypergeometric
from pyro_drpm.ops.gibbs import boundaries
from pyro_drpm.ops.gibbs.boundaries import move_at_boundary, swap_at_boundary

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

K, N = 3, 5
EVERY = np.array(list(itertools.product(range(K), repeat=N)))
POWERS = K ** np.arange(N)[::-1]


class Choices:
    """A generator whose integers are given, and what it still has to choose."""

    def __init__(self, chosen: tuple[int, ...]) -> None:
        self.chosen, self.at, self.options = chosen, 0, 0

    def integers(self, low: int, high: int | None = None, size: int | None = None) -> Any:
        low, high = (0, low) if high is None else (low, high)
        if size is not None:
            return np.array([self.integers(low, high) for _ in range(size)])
        if self.at == len(self.chosen):
            self.options = high - low
            raise StopIteration
        self.at += 1
        return low + self.chosen[self.at - 1]


def all_choices(run: Callable[[Choices], Any]) -> Iterator[tuple[float, Any]]:
    """Probability and result of a run, for all that it may choose."""
    waiting: list[tuple[float, tuple[int, ...]]] = [(1.0, ())]
    while waiting:
        probability, chosen = waiting.pop()
        choices = Choices(chosen)
        try:
            yield probability, run(choices)
        except StopIteration:
            each = probability / choices.options
            waiting += [(each, (*chosen, option)) for option in range(choices.options)]


def moved(move: Callable[..., None], labels: Integers, log_s: Floats, rng: Choices) -> None:
    move(rng, labels.copy(), log_s, None)


@pytest.mark.parametrize("move", [move_at_boundary, swap_at_boundary])
@pytest.mark.parametrize("scale", [0.5, 6.0])
@pytest.mark.parametrize("rows", [1, K])
def test_the_posterior_stays(
    move: Callable[..., None], scale: float, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    log_s = np.broadcast_to(scale * rng.standard_normal((rows, N)), (K, N))
    terms = rng.standard_normal((N, K))
    law = MultivariateFisherHypergeometric(N, torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64))
    prior = DRPM(sizes=law, log_subset_s=torch.from_numpy(log_s.copy()))
    Y = torch.nn.functional.one_hot(torch.from_numpy(EVERY), K).mT.double()
    log_posterior = prior.log_prob(Y).numpy() + terms[np.arange(N), EVERY].sum(1)
    posterior = np.exp(log_posterior - log_posterior.max())
    posterior /= posterior.sum()

    def among(_: Any, candidates: Integers, *__: Any) -> Integers:
        """Stands for the draw, which is by the masses of the candidates."""
        weights.append((candidates @ POWERS, posterior[candidates @ POWERS]))
        return candidates[0]

    monkeypatch.setattr(boundaries, "_drawn", among)
    transition = np.zeros((len(EVERY), len(EVERY)))
    for state, labels in enumerate(EVERY):
        weights: list[tuple[Integers, Floats]] = []
        run = functools.partial(moved, move, labels, log_s)
        for probability, _ in all_choices(run):
            targets, mass = weights.pop() if weights else (np.array([state]), np.ones(1))
            np.add.at(transition[state], targets, probability * mass / mass.sum())
    assert np.allclose(transition.sum(1), 1)
    assert (transition.diagonal() < 0.9).any()
    flow = posterior[:, None] * transition
    assert np.abs(flow - flow.T).max() < 1e-15
