# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""DRPM-VC: variational clustering with a random partition of the batch (section 5.1)."""
