# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Whether chains of partitions have found the same posterior."""

from __future__ import annotations

from typing import NamedTuple

import torch
from pyro.ops.stats import effective_sample_size, split_gelman_rubin
from torch import Tensor

from pyro_drpm.partitions.labels import as_labels
from pyro_drpm.partitions.references import reference_distances, reference_names
from pyro_drpm.types import Partitions

__all__ = ["PartitionDiagnostics", "as_chains", "partition_diagnostics"]

_MIN_DRAWS = 4  # two in each half of a chain


class PartitionDiagnostics(NamedTuple):
    """How well chains of partitions mix.

    Attributes:
        r_hat: Split R-hat of the distances to each reference, shape ``(references,)``; near 1
            where chains agree, above 1.05 is reason for doubt, infinite where chains stand still
            at different partitions.
        effective_sample_size: Of the same, in draws of all chains.
        references: What the distances were measured from.
    """

    r_hat: Tensor
    effective_sample_size: Tensor
    references: list[str]


def partition_diagnostics(draws: Partitions) -> PartitionDiagnostics:
    """R-hat and effective sample size of chains of partitions.

    The names of subsets may differ between draws, and pairs of items say little. So every draw is
    replaced by its variation of information to a few partitions: the point estimate, and draws of
    all chains. Chains that are stuck at different partitions differ there.

    Args:
        draws: Labels ``(chains, draws, n)``, or one-hot matrices ``(chains, draws, K, n)`` of
            floating point numbers or booleans, at least four draws a chain.

    Raises:
        ValueError: As :func:`~pyro_drpm.partitions.as_labels`, or if the shape is another.

    References:
        Duttweiler, L., Klus, J., Coull, B., Thurston, S. W.: The traceplot thickens: MCMC
        diagnostics for non-Euclidean spaces. arXiv:2408.15392, 2025.

        Gelman, A., Rubin, D. B.: Inference from iterative simulation using multiple sequences.
        Statistical Science 7, 1992.

    Example:
        Two chains, each at a partition of its own but for one draw:

        >>> one, other = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, 1])
        >>> draws = torch.stack([one.expand(20, 4), other.expand(20, 4)]).clone()
        >>> draws[0, 3], draws[1, 5] = other, one
        >>> bool(partition_diagnostics(draws).r_hat.max() > 2)
        True
    """
    labels = as_chains(draws)
    if labels.shape[1] < _MIN_DRAWS:
        raise ValueError(
            f"expected at least {_MIN_DRAWS} draws of each chain, but got {labels.shape[1]}"
        )
    distances = reference_distances(labels)
    moves = (distances != distances[:1, :1]).flatten(0, 1).any(0)
    # What never changes in any chain is known, not doubtful.
    r_hat = torch.where(moves, split_gelman_rubin(distances), 1.0)
    size = torch.where(moves, effective_sample_size(distances), float(distances[..., 0].numel()))
    return PartitionDiagnostics(r_hat, size, reference_names(labels))


def as_chains(draws: Partitions) -> Tensor:
    """Labels ``(chains, draws, n)``.

    Raises:
        ValueError: As :func:`~pyro_drpm.partitions.as_labels`, or if the shape is another.
    """
    labels = as_labels(draws)
    if labels.dim() != 3:
        raise ValueError(
            "expected chains of partitions, labels (chains, draws, n) or one-hot matrices "
            f"(chains, draws, K, n), but got labels of shape {tuple(labels.shape)}"
        )
    return labels
