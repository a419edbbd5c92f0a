# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Times of arrival against their density, integrated on a grid."""

import mpmath
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import kstest

from pyro_drpm.ops.gibbs.log_times import draw_log_times, log1mexp_of_log

DRAWS = 4000
RNG = np.random.default_rng(0)
SCORES = {
    "nobody before": [],
    "one": [0.5],
    "one of small score": [1e-4],
    "one of large score": [1e4],
    "few": [0.1, 1.0, 3.0],
    "many": np.exp(RNG.standard_normal(300) - 4),
    "far apart": np.exp(4 * RNG.standard_normal(40)),
    "very small": [1e-250, 1e-290],
    "very large": [1e250, 1e290],
}


def log_density(v: NDArray[np.float64], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """From the definition, the later scores adding up to 1; small products by their series."""
    with np.errstate(over="ignore"):
        x = scores * np.exp(v)[:, None]
    factors = np.where(x < 1e-9, x, -np.expm1(-np.clip(x, 1e-9, None)))
    return v - np.exp(v) + np.log(factors).sum(1)


@pytest.mark.parametrize("scores", SCORES.values(), ids=SCORES)
def test_draws_follow_the_density(scores: NDArray[np.float64]) -> None:
    s = np.asarray(scores, dtype=float)
    of_all = np.tile(np.log(s), DRAWS)
    subset = np.repeat(np.arange(DRAWS), len(s))
    drawn = draw_log_times(np.random.default_rng(1), of_all, subset, DRAWS)
    grid = np.linspace(drawn.min() - 8, drawn.max() + 3, 30001)
    log_p = log_density(grid, s)
    p = np.exp(log_p - log_p.max())
    cdf = np.concatenate([[0.0], np.cumsum(p[1:] + p[:-1])])
    assert kstest(drawn, lambda v: np.interp(v, grid, cdf / cdf[-1])).pvalue > 1e-3


def test_subsets_are_drawn_apart() -> None:
    """Each of three subsets, one without members, has the mean that it has alone."""
    log_scores, subset = np.log([0.2, 5.0, 0.01]), np.array([0, 2, 2])
    rng = np.random.default_rng(0)
    together = np.mean([draw_log_times(rng, log_scores, subset, 3) for _ in range(3000)], 0)
    for k, own in enumerate(([0.2], [], [5.0, 0.01])):
        grid = np.linspace(-30, 5, 20001)
        log_p = log_density(grid, np.asarray(own, dtype=float))
        p = np.exp(log_p - log_p.max())
        assert together[k] == pytest.approx((p * grid).sum() / p.sum(), abs=0.1)


@pytest.mark.parametrize("log_x", [-1e4, -300.0, -29.9, -1.0, 0.0, 2.0, 6.4])
def test_log1mexp_of_log(log_x: float) -> None:
    with mpmath.workdps(50):
        exact = mpmath.log(-mpmath.expm1(-mpmath.exp(mpmath.mpf(log_x))))
    assert float(log1mexp_of_log(np.array(log_x))) == pytest.approx(float(exact), rel=1e-13)


def test_what_surely_has_come_costs_nothing() -> None:
    assert (log1mexp_of_log(np.array([7.0, 700.0, 1e300])) == 0).all()
