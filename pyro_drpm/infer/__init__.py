# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Inference in models with random partitions."""

from pyro_drpm.infer.annealing import ExponentialAnnealing, temperature
from pyro_drpm.infer.elbo import TracePartition_ELBO
from pyro_drpm.infer.partition_gibbs import PartitionGibbs
from pyro_drpm.infer.reparam import DRPMReparam

__all__ = [
    "DRPMReparam",
    "ExponentialAnnealing",
    "PartitionGibbs",
    "TracePartition_ELBO",
    "temperature",
]
