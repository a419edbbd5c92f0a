# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Datasets that the models train on."""

from models.data.factor_datasets import FactorDatasetName, load_factor_images
from models.data.factors import FactorImages, ImagePair, SharedFactors
from models.data.images import DatasetName, ImageData, load_images

__all__ = [
    "DatasetName",
    "FactorDatasetName",
    "FactorImages",
    "ImageData",
    "ImagePair",
    "SharedFactors",
    "load_factor_images",
    "load_images",
]
