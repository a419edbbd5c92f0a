# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Differentiable random partition models for Pyro."""

from pyro_drpm.distributions import DRPM, MultivariateFisherHypergeometric, PlackettLuce

__all__ = ["DRPM", "MultivariateFisherHypergeometric", "PlackettLuce"]

__version__ = "0.1.0.dev0"
