# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Posterior draws of models with random partitions for ArviZ.

ArviZ comes with the extra ``pyro-drpm[arviz]``; both its lines are served, 0.x and 1.x.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pyro.infer import MCMC
from torch import Tensor

from pyro_drpm.optional import require
from pyro_drpm.partitions.invariants import invariants

__all__ = ["to_arviz"]

_DIMS = {
    "Y": ["subset", "element"],
    "omega": ["subset"],
    "log_omega": ["subset"],
    "s": ["element"],
    "log_s": ["element"],
}


def to_arviz(
    posterior: MCMC | Mapping[str, Tensor],
    *,
    dims: Mapping[str, Sequence[str]] | None = None,
    coords: Mapping[str, Sequence[Any]] | None = None,
    partitions: Sequence[str] = ("Y",),
) -> Any:
    """Convert draws to ArviZ, with named dims and quantities that label switching leaves alone.

    For every partition site, say ``Y``, the result has the quantities of
    :func:`~pyro_drpm.partitions.invariants` as ``Y_num_subsets``, ``Y_size_entropy`` and
    ``Y_pairs``: these are what R-hat and effective sample sizes make sense for.

    Args:
        posterior: A finished :class:`pyro.infer.MCMC`, whose chains are kept apart and whose
            divergences become ``sample_stats``; or draws by site, shape ``(draws, *site)``, as
            :class:`pyro.infer.Predictive` gives them for an SVI posterior, which is one chain.
        dims: Names of the dims of further sites; those of ``Y``, ``omega``, ``s`` and the logs of
            these are ``subset`` and ``element``.
        coords: Coordinates of the dims.
        partitions: Names of the partition sites, ``(draws, K, n)`` one-hot; those that are missing
            among the draws are left out.

    Returns:
        ``arviz.InferenceData``, or ``xarray.DataTree`` with ArviZ 1.x.

    Raises:
        ImportError: If ArviZ is missing.

    Example:
        >>> from pyro_drpm import DRPM
        >>> draws = {"Y": DRPM(torch.ones(2), torch.ones(3)).sample((100,))}
        >>> data = to_arviz(draws)
        >>> data.posterior["Y"].dims
        ('chain', 'draw', 'subset', 'element')
    """
    groups = {"posterior": _by_chain(posterior)}
    if isinstance(posterior, MCMC):
        groups["sample_stats"] = {"diverging": _divergences(posterior)}
    names = {**_DIMS, **(dims or {})}
    for site in partitions:
        if site in groups["posterior"]:
            draws = groups["posterior"][site]
            for quantity, values in invariants(draws).items():
                groups["posterior"][f"{site}_{quantity}"] = values
            names[f"{site}_pairs"] = ["pair"]
    arrays = {
        group: {name: values.detach().cpu().numpy() for name, values in of_group.items()}
        for group, of_group in groups.items()
    }
    used = {name: list(names[name]) for name in arrays["posterior"] if name in names}
    # Lists, for xarray takes a tuple for something else.
    named = {dim: list(values) for dim, values in (coords or {}).items()}
    arviz = require("arviz", "arviz")
    if int(arviz.__version__.split(".")[0]) >= 1:
        return arviz.from_dict(arrays, dims=used, coords=named)
    return arviz.from_dict(**arrays, dims=used, coords=named)


def _by_chain(posterior: MCMC | Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Draws ``(chains, draws, *site)``."""
    if isinstance(posterior, MCMC):
        return dict(posterior.get_samples(group_by_chain=True))
    return {name: values.unsqueeze(0) for name, values in posterior.items()}


def _divergences(mcmc: MCMC) -> Tensor:
    by_chain = mcmc.diagnostics().get("divergences", {})
    num_draws = next(iter(mcmc.get_samples(group_by_chain=True).values())).shape[1]
    diverging = torch.zeros(mcmc.num_chains, num_draws, dtype=torch.bool)
    for chain, draws in enumerate(by_chain.values()):
        diverging[chain, draws] = True
    return diverging
