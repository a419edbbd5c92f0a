# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The two kinds of scores."""

from __future__ import annotations

from torch import Tensor

from pyro_drpm.distributions.arguments import log_weights
from pyro_drpm.distributions.assignment import Assignment
from pyro_drpm.distributions.element_scores import ElementScores
from pyro_drpm.distributions.subset_scores import SubsetScores

__all__ = ["assignment_of"]


def assignment_of(
    owner: str,
    of_elements: tuple[Tensor | None, Tensor | None],
    of_subsets: tuple[Tensor | None, Tensor | None],
    validate: bool,
) -> Assignment:
    """The assignment with one score per element, or with one for every subset and element.

    Args:
        owner: Name of the distribution.
        of_elements: Scores of elements or their logarithms.
        of_subsets: Scores for every subset or their logarithms.
        validate: Whether to check values.

    Raises:
        ValueError: If not exactly one is given, or it has the wrong shape, dtype or values.
    """
    if all(x is None for x in of_subsets):
        return ElementScores(log_weights(owner, "s", *of_elements, validate), validate)
    if any(x is not None for x in of_elements):
        raise ValueError(f"{owner}: expected either scores s or subset_s, but got both.")
    log_s = log_weights(owner, "subset_s", *of_subsets, validate)
    if log_s.dim() < 2:
        raise ValueError(
            f"{owner}: expected log_subset_s of shape (*batch, K, n), but got {tuple(log_s.shape)}."
        )
    return SubsetScores(log_s)
