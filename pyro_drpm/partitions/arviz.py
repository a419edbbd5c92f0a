# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Posterior draws of models with random partitions for ArviZ.

ArviZ comes with the extra ``pyro-drpm[arviz]``; both its lines are served, 0.x and 1.x.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from pyro.infer import MCMC
from torch import Tensor

from pyro_drpm.distributions.constraints import partition_matrix
from pyro_drpm.optional import require
from pyro_drpm.partitions.labels import as_labels, as_tensor
from pyro_drpm.partitions.quantities import invariants
from pyro_drpm.partitions.references import reference_distances, reference_names

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

__all__ = ["to_arviz"]

# Names of the last dims of sites and of quantities.
_DIMS = {
    "omega": ["subset"],
    "log_omega": ["subset"],
    "s": ["element"],
    "log_s": ["element"],
}


def to_arviz(
    posterior: MCMC | Mapping[str, Tensor | ArrayLike],
    *,
    dims: Mapping[str, Sequence[str]] | None = None,
    coords: Mapping[str, Sequence[Any]] | None = None,
    partitions: Sequence[str] | None = None,
    by_chain: bool = False,
) -> Any:
    """Convert draws to ArviZ, with named dims and quantities that label switching leaves alone.

    R-hat and effective sample sizes make sense for these, which are added for every partition
    site, say ``Y``:

    - ``Y_num_subsets``, ``Y_size_entropy`` and ``Y_pairs``, see
      :func:`~pyro_drpm.partitions.invariants`;
    - ``Y_vi``, the variation of information in bits between every draw and a few partitions, along
      the dim ``reference``: the point estimate from up to 100 draws of all chains, found by the
      same short search each time, and four draws at even distances through all chains, or that in
      the middle of each chain where there are more than four. Chains that are stuck at different
      partitions differ here even where the other quantities are alike.

    The last dims of partition sites are ``subset`` and ``element``, those of ``omega``, ``s`` and
    their logs one of these. Dims before them, of plates, have ArviZ's names, for example
    ``Y_dim_0``. Where two sites differ in length the later one has a dim of its own, for example
    ``Z_element``.

    Args:
        posterior: A finished :class:`pyro.infer.MCMC`, whose chains are kept apart and whose
            divergences become ``sample_stats``; or draws by site, tensors or arrays of shape
            ``(draws, *site)``, as :class:`pyro.infer.Predictive` gives them for an SVI posterior,
            which is one chain.
        dims: Names of the dims of sites and quantities, from the first one, instead of the names
            above. What is added for a partition site takes the names of its plates.
        coords: Coordinates of the dims.
        partitions: Names of the partition sites, by default ``Y`` if there is one. They are one-hot
            matrices ``(draws, *plates, K, n)``, or integers that are labels
            ``(draws, *plates, n)``.
        by_chain: Whether draws by site are of several chains, shape ``(chains, draws, *site)``.

    Returns:
        ``arviz.InferenceData``, or ``xarray.DataTree`` with ArviZ 1.x.

    Raises:
        ImportError: If ArviZ is missing.
        ValueError: If there are no draws or sites differ in their number, a site that is named is
            missing or is no partition, or names and sizes of dims do not fit.

    References:
        Duttweiler, L., Klus, J., Coull, B., Thurston, S. W.: The traceplot thickens: MCMC
        diagnostics for non-Euclidean spaces. arXiv:2408.15392, 2025.

    Example:
        >>> from pyro_drpm import DRPM
        >>> draws = {"Y": DRPM(torch.ones(2), torch.ones(3)).sample((100,))}
        >>> data = to_arviz(draws)
        >>> data.posterior["Y"].dims
        ('chain', 'draw', 'subset', 'element')
        >>> data.posterior["Y_vi"].dims
        ('chain', 'draw', 'reference')
    """
    sites = _draws_by_site(posterior, by_chain)
    last = dict(_DIMS)
    plates: dict[str, Sequence[str]] = {}
    coordinates = dict(coords or {})
    for site in _partition_sites(sites, partitions):
        labels = _labels(site, sites[site])
        is_matrix = labels.dim() < sites[site].dim()
        last[site] = ["subset", "element"] if is_matrix else ["element"]
        quantities = {**invariants(labels), "vi": reference_distances(labels)}
        of_site = {f"{site}_{name}": values for name, values in quantities.items()}
        plates |= {name: (dims or {}).get(site, [])[: labels.dim() - 3] for name in of_site}
        last |= {name: [] for name in of_site}
        last |= {f"{site}_pairs": ["pair"], f"{site}_vi": ["reference"]}
        sites = of_site | sites
        coordinates.setdefault("reference", reference_names(labels))
    # Partition sites come first, so that other sites are called after them.
    names = _names(sites, last, plates, dims or {}, coordinates)
    groups = {"posterior": sites}
    if isinstance(posterior, MCMC):
        groups["sample_stats"] = {"diverging": _divergences(posterior)}
    arrays = {
        group: {name: _as_array(values) for name, values in of_group.items()}
        for group, of_group in groups.items()
    }
    # Lists, for xarray takes a tuple for something else.
    named = {dim: list(values) for dim, values in coordinates.items()}
    arviz = require("arviz", "arviz")
    if int(arviz.__version__.split(".")[0]) >= 1:
        return arviz.from_dict(arrays, dims=names, coords=named)
    return arviz.from_dict(**arrays, dims=names, coords=named)


def _draws_by_site(
    posterior: MCMC | Mapping[str, Tensor | ArrayLike], by_chain: bool
) -> dict[str, Tensor]:
    """Draws ``(chains, draws, *site)``."""
    if isinstance(posterior, MCMC):
        draws, by_chain = posterior.get_samples(group_by_chain=True), True
        if draws is None:
            raise ValueError("expected a finished MCMC, but it has not been run")
    else:
        draws = posterior
    if not draws:
        raise ValueError(
            "expected draws of at least one site, but got none: an MCMC has none of enumerated "
            "sites, draw these with pyro.infer.Predictive or infer_discrete"
        )
    sites = {name: as_tensor(values) for name, values in draws.items()}
    num_dims = 2 if by_chain else 1
    shapes = {name: tuple(values.shape[:num_dims]) for name, values in sites.items()}
    expected = next(iter(shapes.values()))
    if len(expected) < num_dims or 0 in expected or set(shapes.values()) != {expected}:
        form = "(chains, draws, *site)" if by_chain else "(draws, *site)"
        raise ValueError(f"expected as many draws of each site, {form}, but got {shapes}")
    return sites if by_chain else {name: values.unsqueeze(0) for name, values in sites.items()}


def _partition_sites(
    sites: Mapping[str, Tensor], partitions: Sequence[str] | None
) -> Sequence[str]:
    if partitions is None:
        return [site for site in ("Y",) if site in sites]
    for site in partitions:
        if site not in sites:
            raise ValueError(
                f"expected partitions to be among the sites {', '.join(sites)}, but got "
                f"{partitions!r}"
            )
    return partitions


def _labels(site: str, values: Tensor) -> Tensor:
    """Labels ``(chains, draws, *plates, n)``."""
    # Integers could be labels; but labels of a plate are not by chance one-hot in all draws.
    if values.dim() > 3 and not values.is_floating_point() and partition_matrix.check(values).all():
        values = values.bool()
    try:
        labels = as_labels(values)
    except ValueError as error:
        raise ValueError(
            f"{error}: site {site!r} is no partition; partitions=[...] names those that are"
        ) from error
    if labels.dim() < 3:
        raise ValueError(
            f"expected partitions of shape (draws, K, n) or labels (draws, n) at site {site!r}, "
            f"but got one number a draw"
        )
    return labels


def _names(
    sites: Mapping[str, Tensor],
    last: Mapping[str, Sequence[str]],
    plates: Mapping[str, Sequence[str]],
    given: Mapping[str, Sequence[str]],
    coords: Mapping[str, Sequence[Any]],
) -> dict[str, list[str]]:
    """Names of all dims of the sites that have any, each name for one size."""
    unknown = [name for name in given if name not in sites]
    if unknown:
        raise ValueError(
            f"expected dims of the sites {', '.join(sites)}, but got some of {', '.join(unknown)}"
        )
    sizes = {dim: len(values) for dim, values in coords.items()}
    names: dict[str, list[str]] = {}
    for name, of_site in given.items():
        shape = sites[name].shape[2:]
        if len(of_site) > len(shape):
            raise ValueError(
                f"expected at most {len(shape)} dims of {name!r}, but got {list(of_site)}"
            )
        for dim, size in zip(of_site, shape, strict=False):
            if sizes.setdefault(dim, size) != size:
                raise ValueError(
                    f"expected the dim {dim!r} of {name!r} to have size {size}, but it has "
                    f"{sizes[dim]} elsewhere"
                )
        names[name] = list(of_site)
    for name in [*(name for name in last if name not in _DIMS), *_DIMS]:
        if name in sites and name not in given:
            shape = sites[name].shape[2:]
            num_plates = max(0, len(shape) - len(last[name]))
            of_plates = [f"{name}_dim_{plate}" for plate in range(num_plates)]
            given_plates = plates.get(name, [])
            names[name] = [*given_plates, *of_plates[len(given_plates) :]]
            for dim, size in zip(reversed(last[name]), reversed(shape), strict=False):
                fits = sizes.setdefault(dim, size) == size
                names[name].insert(num_plates, dim if fits else f"{name}_{dim}")
    return names


def _as_array(values: Tensor) -> NDArray[np.generic]:
    values = values.detach().cpu()
    return (values.float() if values.dtype == torch.bfloat16 else values).numpy()


def _divergences(mcmc: MCMC) -> Tensor:
    by_chain = mcmc.diagnostics().get("divergences", {})
    num_draws = next(iter(mcmc.get_samples(group_by_chain=True).values())).shape[1]
    diverging = torch.zeros(mcmc.num_chains, num_draws, dtype=torch.bool)
    for chain, draws in enumerate(by_chain.values()):
        diverging[chain, draws] = True
    return diverging
