# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Posterior of a DRPM given observed partitions: the states in presidential elections."""
