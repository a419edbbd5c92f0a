# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Models of the paper, each a Pyro model and guide with its training script."""
