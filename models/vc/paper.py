# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Scores that the paper reports, tables 1, 4 and 5."""

from __future__ import annotations

from models.vc.config import Dataset, Method, Pretraining

__all__ = ["paper_scores"]

_SCORES: dict[tuple[Dataset, Pretraining, Method], str] = {
    ("mnist", "contrastive", "gmm"): "0.32 / 0.22 / 0.41",
    ("mnist", "contrastive", "latent-gmm"): "0.86 / 0.83 / 0.88",
    ("mnist", "contrastive", "vade"): "0.84 / 0.76 / 0.82",
    ("mnist", "contrastive", "vade-frozen"): "0.90 / 0.88 / 0.92",
    ("mnist", "contrastive", "drpm"): "0.89 / 0.88 / 0.94",
    ("fashion-mnist", "contrastive", "gmm"): "0.49 / 0.33 / 0.44",
    ("fashion-mnist", "contrastive", "latent-gmm"): "0.60 / 0.47 / 0.62",
    ("fashion-mnist", "contrastive", "vade"): "0.56 / 0.40 / 0.56",
    ("fashion-mnist", "contrastive", "vade-frozen"): "0.64 / 0.47 / 0.59",
    ("fashion-mnist", "contrastive", "drpm"): "0.64 / 0.51 / 0.65",
    ("mnist", "reconstruction", "latent-gmm"): "- / - / 0.75",
    ("mnist", "reconstruction", "vade"): "- / - / 0.69",
    ("mnist", "reconstruction", "drpm"): "- / - / 0.75",
    ("fashion-mnist", "reconstruction", "latent-gmm"): "- / - / 0.57",
    ("fashion-mnist", "reconstruction", "vade"): "- / - / 0.47",
    ("fashion-mnist", "reconstruction", "drpm"): "- / - / 0.62",
}


def paper_scores(dataset: Dataset, pretraining: Pretraining, method: Method) -> str:
    """Give NMI, ARI and ACC on the test images, means over five seeds; nothing if there are none.

    The pretrainings with neighbors are none of the paper's and are compared with the contrastive
    one.

    Example:
        >>> paper_scores("mnist", "neighbors", "drpm")
        '0.89 / 0.88 / 0.94'
    """
    is_ours = pretraining in {"neighbors", "spectral"}
    of_paper: Pretraining = "contrastive" if is_ours else pretraining
    return _SCORES.get((dataset, of_paper, method), "")
