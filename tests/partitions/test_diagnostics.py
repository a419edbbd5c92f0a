# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""R-hat of partitions, by hand and where chains are stuck."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import arviz
import numpy as np
import pytest
import torch
from torch import Tensor

from pyro_drpm.partitions import (
    as_labels,
    partition_diagnostics,
    partition_loss,
    plot_trace,
    to_arviz,
)

ONE, OTHER = torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([0, 1, 0, 1, 0, 1])


def around(center: Tensor, number: int, seed: int) -> Tensor:
    """Draws that differ from a partition in one item at most."""
    generator = torch.Generator().manual_seed(seed)
    draws = center.repeat(number, 1)
    items = torch.randint(len(center), (number, 1), generator=generator)
    return draws.scatter(1, items, torch.randint(3, (number, 1), generator=generator))


def split_r_hat(chains: np.ndarray) -> float:
    """From the definition of Gelman et al., Bayesian Data Analysis, 2013."""
    half = chains.shape[1] // 2
    parts = np.concatenate([chains[:, :half], chains[:, half : 2 * half]])
    within = parts.var(1, ddof=1).mean()
    between = half * parts.mean(1).var(ddof=1)
    return math.sqrt(((half - 1) / half * within + between / half) / within)


def test_r_hat_by_hand() -> None:
    draws = torch.stack([around(ONE, 40, 0), around(ONE, 40, 1)])
    found = partition_diagnostics(draws)
    assert found.references[1] == "chain 0, draw 10"
    distances = partition_loss(draws, draws[0, 10]).numpy()
    assert float(found.r_hat[1]) == pytest.approx(split_r_hat(distances), rel=1e-6)


def test_chains_that_mix_have_one() -> None:
    draws = torch.stack([around(ONE, 400, seed) for seed in range(4)])
    found = partition_diagnostics(draws)
    assert found.r_hat.shape == found.effective_sample_size.shape == (len(found.references),)
    assert (found.r_hat < 1.02).all()
    assert (found.effective_sample_size > 800).all()


def test_names_of_subsets_play_no_part() -> None:
    draws = torch.stack([around(ONE, 50, 0), around(OTHER, 50, 1)])
    renamed = draws.clone()
    renamed[:, ::2] = 7 - renamed[:, ::2]
    found, again = partition_diagnostics(draws), partition_diagnostics(renamed)
    assert torch.equal(found.r_hat, again.r_hat)
    assert torch.equal(found.effective_sample_size, again.effective_sample_size)


@pytest.mark.parametrize("noisy", [False, True])
def test_chains_at_different_partitions_are_seen(noisy: bool) -> None:
    """Pairs of neighbors may be blind: here both partitions have three pairs that lie together."""
    if noisy:
        draws = torch.stack([around(ONE, 200, 0), around(OTHER, 200, 1)])
    else:
        draws = torch.stack([ONE.expand(20, 6), OTHER.expand(20, 6)])
    found = partition_diagnostics(draws)
    # A reference may happen to be as far from both, which is why there are several.
    assert found.r_hat.max() > 1.5
    assert found.effective_sample_size.min() < 20
    assert found.r_hat.isinf().all() != noisy


def test_what_never_moves_is_no_doubt() -> None:
    found = partition_diagnostics(ONE.expand(2, 10, 6))
    assert (found.r_hat == 1).all()
    assert (found.effective_sample_size == 20).all()


def test_the_same_distances_as_arviz() -> None:
    draws = torch.stack([around(ONE, 60, 0), around(OTHER, 60, 1)])
    Y = torch.nn.functional.one_hot(draws, 3).mT.double()
    data = to_arviz({"Y": Y}, by_chain=True)
    theirs = arviz.rhat(data.posterior, var_names=["Y_vi"], method="split")
    values = np.asarray(theirs["Y_vi"])
    np.testing.assert_allclose(values, partition_diagnostics(Y).r_hat.numpy(), rtol=1e-6)


@pytest.mark.parametrize("form", [lambda x: x, lambda x: x.numpy(), lambda x: x.tolist()])
def test_every_form_of_draws(form: Callable[[Tensor], Any]) -> None:
    draws = torch.stack([around(ONE, 12, 0), around(OTHER, 12, 1)])
    assert torch.equal(partition_diagnostics(form(draws)).r_hat, partition_diagnostics(draws).r_hat)


@pytest.mark.parametrize(
    ("draws", "message"),
    [
        (torch.zeros(5, 6, dtype=torch.long), r"\(chains, draws, n\).*shape \(5, 6\)"),
        (torch.zeros(2, 3, 6, dtype=torch.long), "at least 4 draws of each chain, but got 3"),
    ],
)
def test_bad_draws(draws: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        partition_diagnostics(draws)


@pytest.mark.parametrize("reference", [None, OTHER])
def test_trace_is_of_the_distances(reference: Tensor | None) -> None:
    draws = torch.stack([around(ONE, 30, 0), around(OTHER, 30, 1)])
    ax = plot_trace(draws, reference)
    heights = np.stack([np.asarray(line.get_ydata()) for line in ax.lines])
    if reference is not None:
        expected = partition_loss(as_labels(draws), reference)
        np.testing.assert_allclose(heights, expected.numpy())
        assert heights[1].mean() < heights[0].mean()
    assert heights.shape == (2, 30)
    assert ax.get_legend_handles_labels()[1] == ["chain 0", "chain 1"]
