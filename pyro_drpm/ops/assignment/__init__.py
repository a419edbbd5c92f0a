# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Which elements a subset gets, given the sizes: masses, draws and gradients."""
