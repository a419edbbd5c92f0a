# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""What the shared and the independent dims know: figure 3 and table 2 of the paper."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from lightning.fabric.utilities import rank_zero_only
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from models.data import PairSource
from models.runs.tables import format_table, mean_and_std, write_csv
from models.training.failures import require_finite
from models.vae.posteriors import Posterior, aggregate, symmetric_divergence
from models.vae.train import PairTraining
from pyro_drpm.metrics import adjusted_balanced_accuracy

__all__ = [
    "PairCodes",
    "Result",
    "Scores",
    "accuracy_table",
    "encode_pairs",
    "estimate_table",
    "save_shared_dims",
    "score",
]


class PairCodes(NamedTuple):
    """What is known about the first views of ``N`` pairs.

    Attributes:
        means: Means of the aggregated posteriors, shape ``(N, d)``.
        shared_dims: Indicators of dims, 0 or 1, shape ``(N, d)``.
        factors: Values of the generative factors, shape ``(N, F)``.
        shared_factors: Which factors the second view shares, bool, shape ``(N, F)``.
    """

    means: Tensor
    shared_dims: Tensor
    factors: Tensor
    shared_factors: Tensor


class Scores(NamedTuple):
    """How well a method tells shared from independent factors.

    Attributes:
        shared_accuracy: Adjusted balanced accuracy of linear classifiers that predict the shared
            factors from the shared dims, mean of the factors; none without shared factors.
        independent_accuracy: That of the independent factors from the independent dims; none if
            all factors are shared.
        estimated_shared: Number of shared dims, mean of the pairs.
        squared_error: Squared difference of that number and the number of shared factors, mean of
            the pairs; none without factors.
    """

    shared_accuracy: float | None
    independent_accuracy: float | None
    estimated_shared: float
    squared_error: float | None


@torch.no_grad()
def encode_pairs(
    training: PairTraining,
    source: PairSource,
    num_pairs: int,
) -> PairCodes:
    """Encode the first views of pairs, with the dims that are shared without noise.

    Args:
        training: A trained model.
        source: The pairs.
        num_pairs: Number of pairs to draw, where there are endlessly many.

    Raises:
        ValueError: If latent means are not finite.
    """
    device = next(training.parameters()).device
    batches = []
    for pair in source.batches(num_pairs):
        views = Posterior(*training.encoder(pair.images.to(device)))
        shared = training.sharing.noiseless(symmetric_divergence(views))
        means = aggregate(views, shared, training.average).mean[:, 0]
        require_finite("the latent means", means)
        codes = PairCodes(means, shared, pair.factors[:, 0], pair.shared)
        batches.append([values.cpu() for values in codes])
    return PairCodes(*(torch.cat(values) for values in zip(*batches, strict=True)))


@rank_zero_only
def save_shared_dims(path: Path, ids: Sequence[str], shared_dims: Tensor) -> None:
    """Write which dims each pair shares: its name, their number, and each of them.

    Args:
        path: Where to save the file.
        ids: Names of the pairs.
        shared_dims: Indicators, shape ``(N, d)``.
    """
    header = ("id", "shared", *(f"dim_{j}" for j in range(shared_dims.shape[-1])))
    rows = zip(ids, shared_dims.int().tolist(), strict=True)
    write_csv(path, header, ((name, sum(dims), *dims) for name, dims in rows))


def score(train: PairCodes, test: PairCodes) -> Scores:
    """Train the classifiers on some pairs and score everything on others.

    A classifier reads all dims of a view, those that are not of its kind as zeros.
    """
    estimate = float(test.shared_dims.double().sum(-1).mean())
    has_factors = test.factors.shape[-1] > 0
    n_shared = float(test.shared_factors.double().sum(-1).mean())
    return Scores(
        _accuracy(_shared_part(train), _shared_part(test)),
        _accuracy(_independent_part(train), _independent_part(test)),
        estimate,
        (estimate - n_shared) ** 2 if has_factors else None,
    )


def _shared_part(codes: PairCodes) -> tuple[Tensor, Tensor, Tensor]:
    return codes.means * codes.shared_dims, codes.factors, codes.shared_factors


def _independent_part(codes: PairCodes) -> tuple[Tensor, Tensor, Tensor]:
    return codes.means * (1 - codes.shared_dims), codes.factors, ~codes.shared_factors


def _accuracy(
    train: tuple[Tensor, Tensor, Tensor], test: tuple[Tensor, Tensor, Tensor]
) -> float | None:
    """Mean accuracy over the factors.

    A factor counts on the pairs where it is of the kind, if they show several of its values, each
    at least twice in the mean.
    """
    accuracies = []
    for factor in range(train[1].shape[-1]):
        (x_train, y_train), (x_test, y_test) = (
            (codes[which[:, factor]], factors[which[:, factor], factor])
            for codes, factors, which in (train, test)
        )
        num_values = len(y_train.unique())
        if min(num_values, len(y_test.unique())) > 1 and 2 * num_values <= len(y_train):
            classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
            classifier.fit(x_train.numpy(), y_train.numpy())
            predicted = classifier.predict(x_test.numpy())
            accuracies.append(adjusted_balanced_accuracy(y_test, predicted))
    return sum(accuracies) / len(accuracies) if accuracies else None


class Result(NamedTuple):
    """The scores of one training.

    Attributes:
        method: How dims become shared.
        n_shared: Number of shared factors; none for pairs of one's own.
        seed: Seed of the repetition.
        scores: The scores.
    """

    method: str
    n_shared: int | None
    seed: int
    scores: Scores


def accuracy_table(results: Sequence[Result]) -> str:
    """Lay out table 2: accuracies on shared (S) and independent (I) factors."""
    return _table(results, {"S": "shared_accuracy", "I": "independent_accuracy"})


def estimate_table(results: Sequence[Result]) -> str:
    """Lay out the numbers of figure 3: estimated numbers of shared factors and their errors."""
    return _table(results, {"shared": "estimated_shared", "error": "squared_error"})


def _table(results: Sequence[Result], columns: dict[str, str]) -> str:
    """A line per method; the columns repeat for each number of shared factors."""
    numbers = sorted({r.n_shared for r in results}, key=lambda n: n or 0)
    keys = [(n, title) for n in numbers for title in columns]
    rows = {r.method: [""] * len(keys) for r in results}
    for method, row in rows.items():
        for place, (n_shared, title) in enumerate(keys):
            scores = [r.scores for r in results if (r.method, r.n_shared) == (method, n_shared)]
            values = [getattr(s, columns[title]) for s in scores]
            if None not in values:
                row[place] = mean_and_std(values)
    header = ("", *(title if n is None else f"{title}, n_s={n}" for n, title in keys))
    return format_table(header, [(method, *row) for method, row in rows.items()])
