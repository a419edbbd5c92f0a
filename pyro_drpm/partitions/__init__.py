# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""What draws of a partition say: losses, point estimates, credible balls, sizes."""

from pyro_drpm.partitions.arviz import to_arviz
from pyro_drpm.partitions.balls import CredibleBall, credible_ball
from pyro_drpm.partitions.diagnostics import PartitionDiagnostics, partition_diagnostics
from pyro_drpm.partitions.enumeration import enumerate_partitions
from pyro_drpm.partitions.labels import as_draws, as_labels
from pyro_drpm.partitions.losses import expected_loss, partition_loss
from pyro_drpm.partitions.plots import (
    plot_dendrogram,
    plot_estimates,
    plot_losses,
    plot_num_subsets,
    plot_points,
    plot_similarity,
    plot_sizes,
    plot_trace,
)
from pyro_drpm.partitions.point_estimates import PointEstimate, point_estimate
from pyro_drpm.partitions.quantities import invariants
from pyro_drpm.partitions.relabeling import relabel
from pyro_drpm.partitions.similarity import similarity_matrix
from pyro_drpm.partitions.sizes import size_distribution, subset_sizes_of
from pyro_drpm.partitions.subpartitions import Subpartition, subpartition
from pyro_drpm.partitions.weighted_estimates import WeightedEstimates, weighted_estimates

__all__ = [
    "CredibleBall",
    "PartitionDiagnostics",
    "PointEstimate",
    "Subpartition",
    "WeightedEstimates",
    "as_draws",
    "as_labels",
    "credible_ball",
    "enumerate_partitions",
    "expected_loss",
    "invariants",
    "partition_diagnostics",
    "partition_loss",
    "plot_dendrogram",
    "plot_estimates",
    "plot_losses",
    "plot_num_subsets",
    "plot_points",
    "plot_similarity",
    "plot_sizes",
    "plot_trace",
    "point_estimate",
    "relabel",
    "similarity_matrix",
    "size_distribution",
    "subpartition",
    "subset_sizes_of",
    "to_arviz",
    "weighted_estimates",
]
