# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""DRPM-VAE: shared and independent factors of pairs of images (section 5.2)."""
