# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Distributions over partitions, subset sizes and orderings."""

from pyro_drpm.distributions import constraints, size_divergences  # noqa: F401
from pyro_drpm.distributions.affinity_sizes import sizes_given_affinities
from pyro_drpm.distributions.dirichlet_multinomial_sizes import DirichletMultinomialSizes
from pyro_drpm.distributions.drpm import DRPM
from pyro_drpm.distributions.fixed_sizes import FixedSizes
from pyro_drpm.distributions.hypergeometric import MultivariateFisherHypergeometric
from pyro_drpm.distributions.multinomial_sizes import MultinomialSizes
from pyro_drpm.distributions.pitman_yor_sizes import PitmanYorSizes
from pyro_drpm.distributions.plackett_luce import PlackettLuce
from pyro_drpm.distributions.potential_sizes import PotentialSizes
from pyro_drpm.distributions.size_distribution import SizeDistribution
from pyro_drpm.distributions.tied_plackett_luce import TiedPlackettLuce

__all__ = [
    "DRPM",
    "DirichletMultinomialSizes",
    "FixedSizes",
    "MultinomialSizes",
    "MultivariateFisherHypergeometric",
    "PitmanYorSizes",
    "PlackettLuce",
    "PotentialSizes",
    "SizeDistribution",
    "TiedPlackettLuce",
    "constraints",
    "sizes_given_affinities",
]
