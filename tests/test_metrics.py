# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

import itertools
import sys
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score

from pyro_drpm.metrics import (
    adjusted_balanced_accuracy,
    adjusted_rand_index,
    cluster_accuracy,
    normalized_mutual_information,
)

Metric = Callable[..., float]

CLUSTER_METRICS = [cluster_accuracy, normalized_mutual_information, adjusted_rand_index]
METRICS = [*CLUSTER_METRICS, adjusted_balanced_accuracy]

label_pairs = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=12
).map(lambda pairs: (np.array([t for t, _ in pairs]), np.array([p for _, p in pairs])))


def accuracy_by_brute_force(true: np.ndarray, pred: np.ndarray) -> float:
    names = range(5)
    return max(np.mean(true == np.array(m)[pred]) for m in itertools.permutations(names))


def nmi_by_definition(true: np.ndarray, pred: np.ndarray) -> float:
    def entropy(labels: list) -> float:
        p = np.array([labels.count(label) for label in set(labels)]) / len(labels)
        return float(-(p * np.log(p)).sum())

    h_true, h_pred = entropy(list(true)), entropy(list(pred))
    h_joint = entropy(list(zip(true, pred, strict=True)))
    total = h_true + h_pred
    return 1.0 if total == 0 else 2 * (total - h_joint) / total


def ari_by_pairs(true: np.ndarray, pred: np.ndarray) -> float:
    pairs = list(itertools.combinations(range(len(true)), 2))
    together_true = np.array([true[i] == true[j] for i, j in pairs])
    together_pred = np.array([pred[i] == pred[j] for i, j in pairs])
    if np.array_equal(together_true, together_pred):
        return 1.0
    expected = together_true.sum() * together_pred.sum() / len(pairs)
    largest = (together_true.sum() + together_pred.sum()) / 2
    return float(((together_true & together_pred).sum() - expected) / (largest - expected))


@pytest.mark.parametrize(
    ("metric", "oracle"),
    [
        (cluster_accuracy, accuracy_by_brute_force),
        (normalized_mutual_information, nmi_by_definition),
        (adjusted_rand_index, ari_by_pairs),
    ],
)
@given(labels=label_pairs)
def test_metric_agrees_with_its_definition(
    metric: Metric, oracle: Metric, labels: tuple[np.ndarray, np.ndarray]
) -> None:
    assert metric(*labels) == pytest.approx(oracle(*labels), abs=1e-10)


@given(labels=label_pairs)
def test_adjusted_balanced_accuracy_is_the_adjusted_mean_recall(
    labels: tuple[np.ndarray, np.ndarray],
) -> None:
    true, pred = labels
    classes = np.unique(true)
    if len(classes) == 1:
        with pytest.raises(ValueError, match=f"at least two classes, .* are {classes[0]}"):
            adjusted_balanced_accuracy(true, pred)
        return
    recall = np.mean([np.mean(pred[true == c] == c) for c in classes])
    expected = (recall - 1 / len(classes)) / (1 - 1 / len(classes))
    assert adjusted_balanced_accuracy(true, pred) == pytest.approx(expected, abs=1e-12)


def test_adjusted_balanced_accuracy_follows_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    true, pred = rng.choice(4, size=(2, 200), p=[0.1, 0.2, 0.3, 0.4])
    expected = balanced_accuracy_score(true, pred, adjusted=True)
    assert adjusted_balanced_accuracy(true, pred) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", CLUSTER_METRICS)
@given(labels=label_pairs, names=st.permutations(range(5)), data=st.data())
def test_clusters_and_elements_have_no_order(
    metric: Metric,
    labels: tuple[np.ndarray, np.ndarray],
    names: list[int],
    data: st.DataObject,
) -> None:
    true, pred = labels
    order = np.array(data.draw(st.permutations(range(len(true)))))
    shuffled = metric(true[order], np.array(names)[pred][order])
    assert shuffled == pytest.approx(metric(true, pred), abs=1e-12)
    assert metric(pred, true) == pytest.approx(metric(true, pred), abs=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_perfect_prediction_scores_one(metric: Metric) -> None:
    labels = [3, 3, -1, 7, 7, 7]
    assert metric(labels, labels) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("true", "pred", "accuracy"),
    [
        ([0, 0, 1, 1], [0, 1, 2, 3], 0.5),  # more clusters than classes
        ([0, 1, 2, 3], [0, 0, 0, 0], 0.25),  # fewer
        ([5], [9], 1.0),
    ],
)
def test_cluster_accuracy_of_unequal_numbers(
    true: list[int], pred: list[int], accuracy: float
) -> None:
    assert cluster_accuracy(true, pred) == accuracy


@pytest.mark.parametrize("metric", METRICS)
def test_tensors_and_arrays_are_alike(metric: Metric) -> None:
    true, pred = [0, 1, 1, 2, 2, 2], [0, 1, 2, 2, 2, 1]
    expected = metric(true, pred)
    assert metric(torch.tensor(true), torch.tensor(pred, dtype=torch.int32)) == expected
    assert metric(np.array(true, dtype=np.uint8), torch.tensor(pred)) == expected
    assert (
        metric(np.array(true[::-1], dtype=">i4")[::-1], pd.Series(pred, dtype="Int64")) == expected
    )


@pytest.mark.parametrize("metric", METRICS)
def test_matrices_are_their_labels(metric: Metric) -> None:
    true, pred = torch.tensor([0, 1, 1, 2, 2, 2]), torch.tensor([0, 1, 2, 2, 2, 1])
    Y = torch.nn.functional.one_hot(pred, 3).mT.float().requires_grad_()
    assert metric(true, Y) == metric(true, pred)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("true", "pred", "message"),
    [
        ([0, 1, 1], [0, 1], "same length, but they have 3 and 2"),
        ([], [], r"labels_true: .* labels of shape \(n,\) .* got shape \(0,\)"),
        ([0, 1], [[0, 1]], r"labels_pred: .* one 1 in every column .* shape \(1, 2\)"),
        ([0, 1], [[[0, 1]]], r"labels_pred: .* labels of shape \(n,\) .* got shape \(1, 1, 2\)"),
        ([0, 1], [0.5, 1.0], "labels_pred: expected labels that are integers, .*torch.float64"),
        ([True, False], [0, 1], "labels_true: expected labels that are integers, .*torch.bool"),
        (["a", "b"], [0, 1], r"labels_true: expected numbers .* \['a', 'b'\]"),
        (torch.tensor([0.0, 1.0]), [0, 1], "labels_true: expected labels .*torch.float32"),
    ],
)
def test_bad_labels_are_quoted(metric: Metric, true: object, pred: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metric(true, pred)


@pytest.mark.parametrize("metric", METRICS)
def test_missing_library_names_the_extra(metric: Metric, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("sklearn.metrics", "sklearn.metrics.cluster", "scipy.optimize"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        ImportError, match=r"sklearn is needed, .* pip install 'pyro-drpm\[metrics\]'"
    ):
        metric([0, 1], [0, 1])
