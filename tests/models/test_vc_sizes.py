# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Laws of the sizes in a batch, against all batches that there are."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
import torch

from models.vc.priors import ClusterPriors
from models.vc.sizes import BoundedSizes, KnownSizes


def test_a_batch_has_known_sizes_by_chance() -> None:
    clusters = [0] * 4 + [1] * 3 + [2]
    batches = Counter(
        tuple(batch.count(k) for k in range(3)) for batch in itertools.combinations(clusters, 5)
    )
    law = KnownSizes(ClusterPriors(3, 1), [4, 3, 1])(5)
    every = law.enumerate_support()
    expected = torch.tensor([batches[tuple(map(int, sizes))] for sizes in every.tolist()])
    torch.testing.assert_close(law.log_prob(every).exp(), expected / expected.sum())


def test_the_largest_size_is_that_of_the_largest_weight() -> None:
    priors = ClusterPriors(4, 1)
    priors.log_weight.data = torch.tensor([0.1, 0.4, 0.2, 0.3]).log()
    assert KnownSizes(priors, [5, 8, 6, 7])(26).sample().tolist() == [5, 8, 6, 7]
    assert KnownSizes(priors, [8, 7, 6, 5])(26).sample().tolist() == [5, 8, 6, 7]


def test_bounds_of_all_items() -> None:
    law = BoundedSizes(ClusterPriors(3, 1), 9, minimum=2, maximum=4)(9)
    every = law.enumerate_support()
    possible = ((every >= 2) & (every <= 4)).all(-1)
    expected = possible / possible.sum()
    torch.testing.assert_close(law.log_prob(every).exp(), expected)


def test_a_batch_of_bounded_sizes_is_drawn_from_one_that_is_between_the_bounds() -> None:
    """With two clusters one size says the other, so that each has all of the chance there is."""
    total, n, least, most = 9, 4, 3, 6
    law = BoundedSizes(ClusterPriors(2, 1), total, least, most)(n)
    chances = torch.zeros(n + 1)
    for first in range(least, most + 1):
        members = [1] * first + [0] * (total - first)
        for batch in itertools.combinations(members, n):
            chances[sum(batch)] += 1
    counts = torch.arange(n + 1.0)
    found = law.log_prob(torch.stack([counts, n - counts], -1)).exp()
    # Each cluster has the factor, and both say the same.
    torch.testing.assert_close(found, chances.square() / chances.square().sum())


@pytest.mark.parametrize("n", [200, 1000])
def test_many_items_and_wide_bounds(n: int) -> None:
    law = BoundedSizes(ClusterPriors(4, 1), 60_000, minimum=10_000, maximum=20_000)(n)
    assert law.mean.tolist() == pytest.approx([n / 4] * 4, rel=1e-4)
    assert law.log_prob(torch.tensor([n / 4] * 4)).isfinite()
    sure = KnownSizes(ClusterPriors(4, 1), [30_000, 15_000, 10_000, 5_000])(n)
    assert sure.mean.tolist() == pytest.approx([n / 2, n / 4, n / 6, n / 12], rel=1e-4)
