# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Clusters whose sizes are known, or known to lie between bounds: a Gaussian mixture."""
