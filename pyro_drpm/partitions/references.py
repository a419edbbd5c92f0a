# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Where a chain of partitions is: how far from partitions that stay where they are.

References:
    Duttweiler, L., Klus, J., Coull, B., Thurston, S. W.: The traceplot thickens: MCMC diagnostics
    for non-Euclidean spaces. arXiv:2408.15392, 2025.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_drpm.partitions.losses import partition_loss
from pyro_drpm.partitions.point_estimates import point_estimate

__all__ = ["reference_distances", "reference_names"]

_NUM_DRAWS = 4
# Any estimate is a good place to measure from, if it is found fast.
_MAX_DRAWS_OF_ESTIMATE = 100
_NUM_STARTS = 2
_MAX_SWEEPS = 4


def reference_distances(labels: Tensor) -> Tensor:
    """Variation of information between every draw and a few references.

    The first is the point estimate from up to 100 draws of all chains, by a short search whose
    random orders are the same each time. The others are draws: four at even distances through all
    chains, or that in the middle of each chain where there are more chains.

    Args:
        labels: Shape ``(chains, draws, *plates, n)``.

    Returns:
        Bits, shape ``(chains, draws, *plates, references)``, float64.
    """
    draws = labels.flatten(0, 1)
    few = draws[_evenly_spaced(len(draws), _MAX_DRAWS_OF_ESTIMATE)]
    of_plates = few.reshape(len(few), -1, draws.shape[-1]).unbind(1)
    estimates = torch.stack([_estimate(of_plate) for of_plate in of_plates])
    references = [estimates.view(draws.shape[1:]), *draws[_indices_of_draws(labels)]]
    distances = torch.stack([partition_loss(draws, reference) for reference in references], -1)
    # Round-off would look like variance where a chain stands still.
    return distances.round(decimals=12).unflatten(0, labels.shape[:2])


def reference_names(labels: Tensor) -> list[str]:
    """Names of the references for labels ``(chains, draws, *plates, n)``."""
    places = [divmod(index, labels.shape[1]) for index in _indices_of_draws(labels)]
    return ["point estimate", *(f"chain {chain}, draw {draw}" for chain, draw in places)]


def _indices_of_draws(labels: Tensor) -> list[int]:
    num_chains, num_draws = labels.shape[:2]
    return _evenly_spaced(num_chains * num_draws, max(_NUM_DRAWS, num_chains))


def _evenly_spaced(length: int, number: int) -> list[int]:
    """Middles of ``number`` equal parts of ``range(length)``, or all of it."""
    number = min(number, length)
    return [(2 * part + 1) * length // (2 * number) for part in range(number)]


def _estimate(draws: Tensor) -> Tensor:
    generator = torch.Generator(draws.device).manual_seed(0)
    return point_estimate(
        draws, num_starts=_NUM_STARTS, max_sweeps=_MAX_SWEEPS, generator=generator
    ).labels
