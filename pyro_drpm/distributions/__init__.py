# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Distributions over partitions, subset sizes and orderings."""

from pyro_drpm.distributions import constraints
from pyro_drpm.distributions.drpm import DRPM
from pyro_drpm.distributions.hypergeometric import MultivariateFisherHypergeometric
from pyro_drpm.distributions.plackett_luce import PlackettLuce

__all__ = [
    "DRPM",
    "MultivariateFisherHypergeometric",
    "PlackettLuce",
    "constraints",
]
