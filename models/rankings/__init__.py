# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Rankings with ties: what several judges together think of alternatives."""
