# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Partitions as functions of noise."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.infer.reparam.reparam import Reparam

from pyro_drpm.distributions import DRPM
from pyro_drpm.infer.annealing import at_handled_temperature

__all__ = ["DRPMReparam"]


class DRPMReparam(Reparam):
    """Replaces a :class:`~pyro_drpm.DRPM` site by its Gumbel noise.

    The site ``"Y"`` becomes two latent sites with standard Gumbel priors, ``"Y_sizes"`` of event
    shape ``(K - 1, w)`` and ``"Y_ordering"`` of event shape ``(n,)``, and ``"Y"`` itself a
    deterministic function of the noise and the parameters; the first is left out where sizes have
    no noise. So continuous guides can represent multimodal posteriors over partitions. With
    ``hard=True`` the partition is straight-through, which suits SVI with an autoguide; with
    ``hard=False`` it is the relaxed partition, whose density gradient-based MCMC can follow.

    Only for latent sites, not for observed ones.

    Example:
        >>> import pyro, torch
        >>> from pyro_drpm import DRPM
        >>> @pyro.poutine.reparam(config={"Y": DRPMReparam()})
        ... def model():
        ...     return pyro.sample("Y", DRPM(torch.ones(2), torch.ones(3)))
        >>> trace = pyro.poutine.trace(model).get_trace()
        >>> [site for site in trace.nodes if site.startswith("Y")]
        ['Y_sizes', 'Y_ordering', 'Y']
    """

    def apply(self, msg: Any) -> Any:
        name, value = msg["name"], msg["value"]
        fn, event_dim = self._unwrap(msg["fn"])
        if not isinstance(fn, DRPM):
            raise ValueError(
                f"DRPMReparam: expected a DRPM at site {name!r}, but got {type(fn).__name__}."
            )
        # Initial values that autoguides and samplers propose by themselves may be passed over.
        given = value is not None and getattr(value, "_pyro_custom_init", True)
        if msg["is_observed"] or given:
            raise ValueError(
                f"DRPMReparam: expected site {name!r} to be latent, but it has a value; noise "
                "cannot be recovered from a partition."
            )
        fn = at_handled_temperature(fn, name=name)
        zero = torch.zeros((), dtype=fn.log_s.dtype, device=fn.log_s.device)
        standard = dist.Gumbel(zero, torch.ones_like(zero))
        size_shape, ordering_shape = fn.noise_shapes
        sizes = standard.expand(fn.batch_shape + size_shape).to_event(event_dim)
        ordering = standard.expand(fn.batch_shape + ordering_shape).to_event(event_dim - 1)
        # Sizes that are fixed have no noise, and a site of no numbers would be in samplers' way.
        size_noise = pyro.sample(f"{name}_sizes", sizes) if size_shape.numel() else None
        value = fn.partition(size_noise, pyro.sample(f"{name}_ordering", ordering))
        return {
            "fn": dist.Delta(value, event_dim=event_dim).mask(False),
            "value": value,
            "is_observed": True,
        }
