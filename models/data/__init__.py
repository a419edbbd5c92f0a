# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Datasets that the models train on."""

from models.data.factor_datasets import FactorDatasetName, load_factor_images
from models.data.factors import FactorImages, ImagePair, SharedFactors
from models.data.galaxies import load_galaxies
from models.data.images import DatasetName, ImageData, Split, load_images
from models.data.items import Items, Scaler, Scaling, fit_scaler
from models.data.multi_digits import make_multi_digits
from models.data.multi_task import MultiTaskData
from models.data.multi_task_datasets import MultiTaskDatasetName, load_multi_task
from models.data.own_files import load_items
from models.data.own_pairs import load_pairs
from models.data.own_tasks import load_own_tasks
from models.data.pairs import FactorPairs, OwnPairs, PairSource

__all__ = [
    "DatasetName",
    "FactorDatasetName",
    "FactorImages",
    "FactorPairs",
    "ImageData",
    "ImagePair",
    "Items",
    "MultiTaskData",
    "MultiTaskDatasetName",
    "OwnPairs",
    "PairSource",
    "Scaler",
    "Scaling",
    "SharedFactors",
    "Split",
    "fit_scaler",
    "load_factor_images",
    "load_galaxies",
    "load_images",
    "load_items",
    "load_pairs",
    "load_multi_task",
    "load_own_tasks",
    "make_multi_digits",
]
