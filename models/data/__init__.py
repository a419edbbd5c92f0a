# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Datasets that the models train on."""

from models.data.images import DatasetName, ImageData, load_images

__all__ = ["DatasetName", "ImageData", "load_images"]
