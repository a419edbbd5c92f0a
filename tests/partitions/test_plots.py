# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""What the pictures show, read from the axes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from pyro_drpm import DRPM
from pyro_drpm.partitions import (
    WeightedEstimates,
    plot_dendrogram,
    plot_estimates,
    plot_losses,
    plot_num_subsets,
    plot_points,
    plot_similarity,
    plot_sizes,
    similarity_matrix,
    subset_sizes_of,
)

DRAWS = torch.tensor([[0, 1, 0, 1], [0, 1, 0, 2], [0, 1, 1, 1]])


def xs(line: Line2D) -> list[float]:
    return np.asarray(line.get_xdata(), dtype=float).tolist()


def ys(line: Line2D) -> list[float]:
    return np.asarray(line.get_ydata(), dtype=float).tolist()


@pytest.fixture(autouse=True)
def _backend() -> Iterator[None]:
    with pyplot.rc_context({"backend": "agg"}):
        yield
    pyplot.close("all")


@pytest.fixture
def ax() -> Axes:
    return pyplot.subplots()[1]


def test_similarity_is_ordered_by_the_estimate(ax: Axes) -> None:
    assert plot_similarity(DRAWS, [5, 2, 5, 2], ax=ax) is ax
    order = [1, 3, 0, 2]
    shown = ax.images[0].get_array()
    expected = similarity_matrix(DRAWS)[order][:, order]
    np.testing.assert_allclose(np.asarray(shown), expected.numpy())
    corners = [tuple(xs(line)[:2]) for line in ax.lines]
    assert corners == [(-0.5, 1.5), (1.5, 3.5)]


def test_tree_puts_similar_items_next_to_each_other(ax: Axes) -> None:
    draws = torch.tensor([[0, 1, 0, 1, 0]] * 9 + [[0, 1, 1, 1, 0]])
    assert plot_dendrogram(draws, ax=ax) is ax
    assert len(ax.child_axes) == 1, "the tree"
    shown = np.asarray(ax.images[0].get_array())
    # In some order the blocks of both groups are in one piece.
    groups = (shown[0] > 0.5).tolist()
    assert groups in ([True, True, False, False, False], [True, True, True, False, False])
    np.testing.assert_allclose(np.sort(shown.ravel()), np.sort(similarity_matrix(draws).ravel()))


def test_weights_of_a_tree(ax: Axes) -> None:
    plot_dendrogram(DRAWS, weights=[1.0, 0.0, 0.0], ax=ax)
    assert set(np.asarray(ax.images[0].get_array()).ravel().tolist()) == {0.0, 1.0}


def test_estimates_are_rows_that_agree_in_colour(ax: Axes) -> None:
    estimates = WeightedEstimates(
        torch.tensor([[0, 1, 0, 1], [0, 1, 1, 1]]),
        torch.tensor([0.75, 0.25]).double(),
        0.0,
        torch.tensor([0, 0, 0, 1]),
    )
    plot_estimates(estimates, ax=ax)
    rows = np.asarray(ax.images[0].get_array())
    assert rows.shape == (2, 4, 3)
    # Items 0, 2 and 1, 3 of the first; of the second item 2 is with the others.
    assert (rows[0, 0] == rows[0, 1]).all() and (rows[0, 2] == rows[0, 3]).all()
    agree = (rows[0] == rows[1]).all(-1)
    assert agree.sum() == 3 and agree[2:].all()
    assert [text.get_text() for text in ax.get_yticklabels()] == ["75%", "25%"]


def test_sizes_and_their_intervals(ax: Axes) -> None:
    torch.manual_seed(0)
    Y = DRPM(torch.tensor([1.0, 2.0, 1.0]), torch.ones(30)).sample((500,))
    assert plot_sizes(Y, ax=ax, level=0.9) is ax
    line = ax.lines[0]
    sizes = subset_sizes_of(Y).double()
    np.testing.assert_allclose(ys(line), sizes.mean(0).numpy())
    (bars,) = (c for c in ax.collections if hasattr(c, "get_segments"))
    for k, segment in enumerate(bars.get_segments()):
        expected = np.quantile(sizes[:, k].numpy(), [0.05, 0.95])
        np.testing.assert_allclose(sorted(segment[:, 1]), expected, atol=1e-6)


def test_sizes_by_rank() -> None:
    falling = plot_sizes(torch.tensor([[4, 4, 1], [2, 7, 7]]), sort=True)
    assert ys(falling.lines[0]) == [2, 1]


def test_points_have_the_colours_of_their_subsets(ax: Axes) -> None:
    points = torch.randn(4, 2)
    plot_points(points, [0, 1, 0, 1], ax=ax)
    first, second = (np.asarray(c.get_offsets()) for c in ax.collections)
    np.testing.assert_allclose(first, points[[0, 2]].numpy())
    np.testing.assert_allclose(second, points[[1, 3]].numpy())
    colours = [np.asarray(c.get_facecolor()) for c in ax.collections]
    assert (colours[0] != colours[1]).any()


def test_number_of_subsets_of_each_chain(ax: Axes) -> None:
    Y = torch.nn.functional.one_hot(DRAWS, 4).mT.float().expand(2, -1, -1, -1)
    plot_num_subsets(Y, ax=ax)
    assert [ys(line) for line in ax.lines] == [[2, 3, 2]] * 2
    assert len(plot_num_subsets(Y[0]).lines) == 1


def test_losses_of_one_training_or_several(ax: Axes) -> None:
    plot_losses({"a": [3.0, 2.0], "b": [1.0]}, ax=ax)
    assert [line.get_label() for line in ax.lines] == ["a", "b"]
    assert ys(plot_losses([3.0, 2.0]).lines[0]) == [3, 2]


def test_bad_shapes() -> None:
    with pytest.raises(ValueError, match=r"shape \(n, 2\), but got \(3, 3\)"):
        plot_points(torch.zeros(3, 3), [0, 0, 0])
    with pytest.raises(ValueError, match="labels of 3 items, but got 2"):
        plot_points(torch.zeros(3, 2), [0, 0])
    with pytest.raises(ValueError, match=r"but got labels of shape \(3,\)"):
        plot_num_subsets(torch.ones(2, 3).long()[0])
    with pytest.raises(ValueError, match="labels of 4 items, but got 3"):
        plot_similarity(DRAWS, [0, 0, 1])
    with pytest.raises(ValueError, match="at least two items, but got 1"):
        plot_dendrogram([[0], [0]])


def test_sizes_with_another_default_device() -> None:
    draws = torch.tensor([[0, 0, 1], [0, 1, 1]])
    with torch.device("meta"):
        means = np.asarray(plot_sizes(draws).lines[0].get_ydata())
    assert means.tolist() == [1.5, 1.5]
