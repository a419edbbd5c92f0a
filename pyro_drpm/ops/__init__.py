# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Pure tensor functions: the mathematics of random partitions without Pyro."""
