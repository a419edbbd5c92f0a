# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Cox regression with exact ties: who was arrested again, and when."""
