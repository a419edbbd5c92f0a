# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Defaults of DRPM-VC for data of one's own, beside k-means and a Gaussian mixture.

Data that come with scikit-learn, treated as if they were one's own: tables of iris and wine, and
the digits as images and as tables of their pixels. The number of clusters is that of the classes.
All methods see the same scaled values; scikit-learn's have its defaults. Prints the adjusted Rand
index, mean and standard deviation over seeds, and the mean time, and writes every number.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.mixture import GaussianMixture
from tqdm import tqdm

from models.data import Scaling, fit_scaler
from models.data.items import as_items
from models.runs.tables import format_table, mean_and_std, write_csv
from models.vc.estimator import DRPMVC
from pyro_drpm.metrics import adjusted_rand_index

SEEDS = 5
FILE = Path("results/vc/own_data.csv")
HEADER = ("dataset", "method", "seed", "ari", "seconds")


class Dataset(NamedTuple):
    """Items, how they are scaled, and their classes."""

    values: NDArray[Any]
    scaling: Scaling
    classes: NDArray[np.int64]

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(np.bincount(self.classes).tolist())

    @property
    def scaled(self) -> NDArray[np.float64]:
        items = as_items(self.values)
        return fit_scaler(items, self.scaling)(items).flatten(1).double().numpy()


def datasets() -> dict[str, Dataset]:
    """Give all by their names."""
    iris, wine = (load(return_X_y=True) for load in (load_iris, load_wine))
    pixels, digits = load_digits(return_X_y=True)
    return {
        "iris": Dataset(iris[0], "columns", iris[1]),
        "wine": Dataset(wine[0], "columns", wine[1]),
        "digits, images": Dataset(pixels.reshape(-1, 8, 8), "columns", digits),
        "digits, a table, common scale": Dataset(pixels, "common", digits),
        "digits, a table": Dataset(pixels, "columns", digits),
    }


def drpm(data: Dataset, seed: int, **options: Any) -> NDArray[np.int64]:
    """DRPM-VC with its defaults but for the options."""
    model = DRPMVC(
        len(data.sizes), scaling=data.scaling, random_state=seed, progress=False, **options
    )
    return model.fit_predict(data.values)


METHODS: dict[str, Callable[[Dataset, int], NDArray[np.int64]]] = {
    "DRPM-VC": drpm,
    "DRPM-VC, sizes known": lambda data, seed: drpm(
        data, seed, sizes_law="fixed", cluster_sizes=data.sizes
    ),
    "GaussianMixture": lambda data, seed: GaussianMixture(
        len(data.sizes), random_state=seed
    ).fit_predict(data.scaled),
    "KMeans": lambda data, seed: KMeans(len(data.sizes), random_state=seed).fit_predict(
        data.scaled
    ),
}


def main(arguments: Sequence[str]) -> None:
    """Run the datasets that are named, or all."""
    every = datasets()
    names = [name for name in every if not arguments or name in arguments]
    fits = [(name, method, seed) for name in names for method in METHODS for seed in range(SEEDS)]
    rows = []
    for name, method, seed in tqdm(fits, unit="fit"):
        begin = time.perf_counter()
        clusters = METHODS[method](every[name], seed)
        seconds = time.perf_counter() - begin
        index = adjusted_rand_index(every[name].classes, clusters)
        rows.append((name, method, seed, index, seconds))
        write_csv(FILE, HEADER, rows)  # all that there is so far
    for name in names:
        cells = []
        for method in METHODS:
            own = [row for row in rows if row[:2] == (name, method)]
            mean_time = statistics.fmean(row[4] for row in own)
            cells.append((method, mean_and_std([row[3] for row in own]), f"{mean_time:.2g}"))
        print(f"\n{name}\n\n{format_table(('', 'ARI', 'seconds'), cells)}")


if __name__ == "__main__":
    main(sys.argv[1:])
