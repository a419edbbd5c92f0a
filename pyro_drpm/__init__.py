# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0
"""Differentiable random partition models for Pyro."""
