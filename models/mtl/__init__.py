# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""DRPM-MTL: a partition of the neurons of a layer between tasks (section 5.3)."""
