# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""MCMC of models with latent partitions."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from pyro import poutine
from pyro.distributions.util import is_identically_one
from pyro.infer.mcmc import HMC, NUTS
from pyro.infer.mcmc.mcmc_kernel import MCMCKernel
from torch import Tensor

from pyro_drpm.distributions.arguments import checked_count
from pyro_drpm.infer.given_partitions import GivenPartitions
from pyro_drpm.infer.partition_terms import has_mask, partition_of
from pyro_drpm.infer.site_sweep import SiteSweep
from pyro_drpm.infer.subset_moves import SubsetMoves
from pyro_drpm.infer.subset_parameters import SubsetParameters

__all__ = ["PartitionGibbs"]

Params = dict[str, Tensor]


class PartitionGibbs(MCMCKernel):
    r"""Gibbs sampling of partitions, for :class:`pyro.infer.MCMC`.

    A step is one or more sweeps over the elements of all partitions, and then a step of another
    kernel for the continuous latent sites given the partitions. A sweep draws the subset of each
    element from its law given all else, and proposes swaps of pairs of elements. Where sizes are
    bounded it also divides the members of pairs of subsets anew. Where continuous sites are in a
    plate as large as there are subsets, as the parameters of a mixture are, subsets also take each
    other's places with their parameters, and empty ones draw theirs from the prior, so that labels
    switch and subsets open and close: in a Chinese restaurant with equal scores any of them. There
    is no approximation: the law of the partitions that is sampled is that of
    :meth:`pyro_drpm.DRPM.log_prob`.

    The integrals of this mass are turned into auxiliary times, see
    :mod:`pyro_drpm.ops.gibbs.arrivals`, so that a sweep takes ``O(K n)``, on the CPU, wherever the
    model is. It runs the model ``K + 3`` times, two to six more where subsets have parameters,
    if each site that depends on a partition has a log-probability for each element that depends on
    the subset of this element alone, as in a mixture with a plate over the data. This is tried out,
    and checked after every sweep. A site of another kind makes up to ``K n`` runs necessary.

    Args:
        model: With one or more :class:`~pyro_drpm.DRPM` sites that are not observed, of any batch
            shape. All other latent sites are continuous.
        kernel: Makes the kernel of the continuous sites from a model: :class:`pyro.infer.NUTS`,
            :class:`pyro.infer.HMC`, or one of these with options, by :func:`functools.partial`.
        num_sweeps: In each step. A few help where subsets open and close and a sweep takes much
            less time than a step of the kernel.

    Attributes:
        transforms: Of continuous sites to unconstrained space, by name.

    Raises:
        ValueError: If the number of sweeps is no positive integer.
        ValueError: When sampling begins, if no partition is latent, a latent site is discrete, a
            plate draws subsamples, a partition is scaled or masked, or the kernel is another or
            compiled, which would go on with the first partition; later, if a log-probability is
            not a number.

    References:
        Sutter et al.: Differentiable random partition models. NeurIPS 2023, arXiv 2305.16841 (the
        law of a partition).

        Caron, F., Doucet, A.: Efficient Bayesian inference for generalized Bradley-Terry models.
        Journal of Computational and Graphical Statistics 21, 2012 (auxiliary times).

        Neal, R. M.: Markov chain sampling methods for Dirichlet process mixture models. Journal of
        Computational and Graphical Statistics 9, 2000 (algorithm 8: parameters of empty subsets).

    Example:
        Two groups, neither of more than four:

        >>> import pyro, torch
        >>> import pyro.distributions as dist
        >>> from pyro.infer import MCMC
        >>> from pyro_drpm import DRPM
        >>> data = torch.tensor([-2.1, -1.9, 2.0, 2.2, 1.9, -1.8])
        >>> def model():
        ...     loc = pyro.sample("loc", dist.Normal(0.0, 3.0).expand([2]).to_event(1))
        ...     Y = pyro.sample("Y", DRPM(torch.ones(2), torch.ones(6), capacities=[4, 4]))
        ...     with pyro.plate("data", 6):
        ...         pyro.sample("x", dist.Normal(loc @ Y, 0.5), obs=data)
        >>> pyro.set_rng_seed(0)
        >>> mcmc = MCMC(PartitionGibbs(model), 20, warmup_steps=50, disable_progbar=True)
        >>> mcmc.run()
        >>> {name: tuple(x.shape) for name, x in mcmc.get_samples().items()}
        {'Y': (20, 2, 6), 'loc': (20, 2)}
    """

    def __init__(
        self,
        model: Callable[..., Any],
        kernel: Callable[[Any], HMC] = NUTS,
        num_sweeps: int = 1,
    ) -> None:
        self.model = model
        self.num_sweeps = checked_count(type(self).__name__, num_sweeps, "num_sweeps")
        self._make_kernel = kernel
        self.transforms: dict[str, Any] | None = None
        self._params: Params = {}
        self.cleanup()
        super().__init__()

    def cleanup(self) -> None:
        """Forget the run, but for the transforms."""
        self._inner: HMC | None = None
        self._initial: Params = {}
        self._sweeps: dict[str, SiteSweep] = {}
        self._moved, self._num_swept = 0.0, 0

    def setup(self, warmup_steps: int, *args: Any, **kwargs: Any) -> None:
        """Find the latent sites, and draw first values from the prior where none are given."""
        self._args, self._kwargs = args, kwargs
        trace = self._trace({})
        partitions, continuous = _latent_sites(trace)
        values = {name: self._initial.get(name, trace.nodes[name]["value"]) for name in partitions}
        self._given = GivenPartitions(values)
        # Follows Pyro's generator, and leaves NumPy's alone.
        rng = np.random.default_rng(int(torch.randint(2**62, ())))
        self._sweeps, self._moves = {}, []
        for name in partitions:
            parameters = SubsetParameters(name, trace)
            self._sweeps[name] = SiteSweep(name, parameters, self._trace, rng)
            self._moves.append(SubsetMoves(name, parameters, self._trace, rng))
        self._params, self.transforms = values, {}
        if continuous:
            self._inner = self._made_kernel()
            if not self._initial.keys().isdisjoint(continuous):
                self._inner.initial_params = {name: self._initial[name] for name in continuous}
            self._inner.setup(warmup_steps, *args, **kwargs)
            self.transforms = self._inner.transforms
            self._params = values | self._inner.initial_params

    def _made_kernel(self) -> HMC:
        kernel = self._make_kernel(_Given(self.model, self._given))
        if not isinstance(kernel, HMC) or kernel._jit_compile:
            raise ValueError(
                "PartitionGibbs: expected a kernel that makes HMC or NUTS, not compiled, of a "
                f"model, but got one that makes {kernel!r}, which would keep what it computed for "
                "the first partition."
            )
        return kernel

    @property
    def initial_params(self) -> Params:
        """First values, those of continuous sites in unconstrained space."""
        return self._params

    @initial_params.setter
    def initial_params(self, params: Params) -> None:
        self._initial = params

    def sample(self, params: Params) -> Params:
        """Sweeps over all partitions, then a step of the continuous sites."""
        values = {name: self._constrained(name, x) for name, x in params.items()}
        for _ in range(self.num_sweeps):
            values = self._swept(values)
        partitions = {name: values.pop(name) for name in self._sweeps}
        if self._inner is None:
            return partitions
        self._given.partitions = partitions
        self._inner.clear_cache()  # of the potential at the partitions before
        transforms = self.transforms or {}
        unconstrained = {n: transforms[n](x) if n in transforms else x for n, x in values.items()}
        return self._inner.sample(unconstrained) | partitions

    def _swept(self, values: Params) -> Params:
        for sweep in self._sweeps.values():
            values = sweep(values)
            self._moved += sweep.moved
        for move in self._moves:
            values = move(values)
        self._num_swept += len(self._sweeps)
        return values

    def _constrained(self, name: str, x: Tensor) -> Tensor:
        return self.transforms[name].inv(x) if self.transforms and name in self.transforms else x

    def _trace(self, values: Params) -> Any:
        with torch.no_grad():
            conditioned = poutine.condition(self.model, data=values)
            return poutine.trace(conditioned).get_trace(*self._args, **self._kwargs)

    def logging(self) -> OrderedDict[str, str]:
        """What the progress bar shows."""
        inner = OrderedDict() if self._inner is None else self._inner.logging()
        return OrderedDict([*inner.items(), ("moved", f"{self._mean_moved():.0%}")])

    def diagnostics(self) -> dict[str, Any]:
        """Those of the other kernel; ``moved``, the part of the elements that a sweep moves."""
        inner = {} if self._inner is None else self._inner.diagnostics()
        return {**inner, "moved": self._mean_moved()}

    def _mean_moved(self) -> float:
        return self._moved / max(self._num_swept, 1)


class _Given:
    """A model given partitions that may change, as a function that can be pickled."""

    def __init__(self, model: Callable[..., Any], given: GivenPartitions) -> None:
        self.model, self.given = model, given

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with self.given:
            return self.model(*args, **kwargs)


def _latent_sites(trace: Any) -> tuple[list[str], list[str]]:
    """Names of latent partitions and of continuous sites."""
    partitions, continuous = [], []
    for name, site in trace.nodes.items():
        if site["type"] != "sample":
            continue
        fn = site["fn"]
        if type(fn).__name__ == "_Subsample":
            if fn.subsample_size is not None and fn.subsample_size < fn.size:
                raise ValueError(
                    f"PartitionGibbs: expected plates of all data, but plate {name!r} draws "
                    f"{fn.subsample_size} of {fn.size}: MCMC needs the whole likelihood."
                )
        elif site["is_observed"]:
            continue
        elif partition_of(fn) is not None:
            is_masked = site["mask"] is not None or has_mask(fn)
            if is_masked or not is_identically_one(site["scale"]):
                raise ValueError(
                    f"PartitionGibbs: expected site {name!r} without scale and mask, which change "
                    "the law of the partition."
                )
            partitions.append(name)
        elif fn.support.is_discrete:
            raise ValueError(
                f"PartitionGibbs: expected latent sites to be partitions or continuous, but site "
                f"{name!r} is discrete ({type(fn).__name__}): sum it out in the likelihood."
            )
        else:
            continuous.append(name)
    if not partitions:
        raise ValueError(
            "PartitionGibbs: expected a latent DRPM site, but the model has none: use NUTS alone."
        )
    return partitions, continuous
