# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The sizes of the subsets: tables, draws and gradients."""
