# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Which items resemble each other.

References:
    Lowe, D. G.: Distinctive image features from scale-invariant keypoints. IJCV 2004. (The
    histograms of gradients.)

    Arandjelović, R., Zisserman, A.: Three things everyone should know to improve object retrieval.
    CVPR 2012. (Their square roots.)
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from kornia.feature import SIFTDescriptor
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

__all__ = ["Resemblance", "gradient_histograms", "nearest_neighbors"]

Resemblance = Literal["pixels", "gradients"]

_COMPONENTS = 64  # principal components in which neighbors are searched for
_CELL, _MOST_CELLS = 4, 8  # pixels on each side of a cell, and cells on each side of an image


@torch.no_grad()
def gradient_histograms(images: Tensor) -> Tensor:
    """Describe images by the directions of their edges, in cells of about four pixels a side.

    This is SIFT's description of a patch, with more cells and of the whole image.

    Args:
        images: Shape ``(N, C, H, W)``; colours are averaged, and what is not square is filled up.

    Returns:
        Shape ``(N, 8 c^2)`` for ``c`` cells a side, of which there are at most eight.

    Example:
        >>> gradient_histograms(torch.rand(5, 1, 28, 28)).shape
        torch.Size([5, 392])
    """
    height, width = images.shape[-2:]
    side = max(height, width)
    cells = max(1, min(_MOST_CELLS, side // _CELL))
    describe = SIFTDescriptor(side, num_spatial_bins=cells)
    square = F.pad(images.mean(1, keepdim=True), (0, side - width, 0, side - height))
    return torch.cat([describe(batch) for batch in square.split(2048)])


def nearest_neighbors(
    images: Tensor, number: int, seed: int = 0, resemblance: Resemblance = "pixels"
) -> Tensor:
    """Find the images that resemble every image most, by the cosine of their principal components.

    Features have no origin to take an angle at; their neighbors are those of least distance.

    Args:
        images: Shape ``(N, C, H, W)``, or features, shape ``(N, D)``.
        number: Number of neighbors; an image is none of its own.
        seed: Seed of the principal components, which are found by a randomised method.
        resemblance: Whether they are those of the pixels, or of the histograms of gradients.

    Returns:
        Indices, shape ``(N, number)``, the nearest first.
    """
    described = gradient_histograms(images) if resemblance == "gradients" else images
    values = described.flatten(1).numpy()
    pca = PCA(min(_COMPONENTS, *values.shape), random_state=seed)
    points = torch.as_tensor(pca.fit_transform(values), dtype=torch.float32)
    points = F.normalize(points) if images.dim() == 4 else points
    found = NearestNeighbors(n_neighbors=number, algorithm="brute").fit(points.numpy())
    return torch.as_tensor(found.kneighbors(return_distance=False))
