# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Gibbs sampling of partitions: one element after the other, on the CPU and in NumPy."""
