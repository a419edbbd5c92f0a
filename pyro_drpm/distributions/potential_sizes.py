# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Laws of the subset sizes given by tables."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import constraints

from pyro_drpm.distributions.size_distribution import SizeDistribution

__all__ = ["PotentialSizes"]


class PotentialSizes(SizeDistribution):
    r"""Law of the subset sizes with a potential for every subset and count.

    .. math:: p(n_0, \dots, n_{K-1}) \propto \prod_k e^{\phi_k(n_k)}

    Between integers potentials are interpolated.

    Args:
        log_potential: :math:`\phi_k(x)` for ``x`` from 0 to ``n``, shape ``(*batch, K, n + 1)``;
            ``-inf`` where a count is impossible.
        validate_args: Whether to check values.

    Raises:
        ValueError: If potentials are no tensor of float32 or float64 or have fewer than two
            dimensions or counts; with ``validate_args`` if they are NaN or infinite above.

    Example:
        Teams of two or of four:

        >>> table = torch.full((3, 9), -torch.inf)
        >>> table[:, [2, 4]] = 0.0
        >>> PotentialSizes(table).enumerate_support().shape, PotentialSizes(table).entropy().exp()
        (torch.Size([45, 3]), tensor(3.))
    """

    arg_constraints = {"log_potential": constraints.independent(constraints.real, 2)}

    def __init__(self, log_potential: Tensor, *, validate_args: bool | None = None) -> None:
        owner = type(self).__name__
        is_table = isinstance(log_potential, Tensor) and log_potential.is_floating_point()
        if not is_table or log_potential.dim() < 2 or log_potential.shape[-1] < 2:
            received = getattr(log_potential, "dtype", repr(log_potential))
            shape = tuple(getattr(log_potential, "shape", ()))
            raise ValueError(
                f"{owner}: expected log_potential to be a tensor of floats of shape "
                f"(*batch, K, n + 1), but got {received} of shape {shape}."
            )
        validate = self._validate_args if validate_args is None else validate_args
        if validate and not (log_potential < torch.inf).all():
            worst = log_potential[~(log_potential < torch.inf)][0].item()
            raise ValueError(f"{owner}: expected log_potential to be below inf, but got {worst}.")
        self._log_potential = log_potential
        shape, total_count = log_potential.shape[:-1], log_potential.shape[-1] - 1
        super().__init__(total_count, shape, like=log_potential, validate_args=validate_args)

    @classmethod
    def infer_shapes(cls, **arg_shapes: torch.Size) -> tuple[torch.Size, torch.Size]:
        """Batch and event shape from the shape of the potentials."""
        shape = arg_shapes["log_potential"]
        return shape[:-2], shape[-2:-1]

    @property
    def log_potential(self) -> Tensor:
        """Potentials, shape ``(*batch, K, n + 1)``."""
        shape = self.batch_shape + self.event_shape + self._log_potential.shape[-1:]
        return self._log_potential.expand(shape)

    def log_factors(self, counts: Tensor) -> Tensor:
        table = self._log_potential.double()
        shape = torch.broadcast_shapes(counts.shape[:-1], table.shape[:-1])
        table, counts = table.expand(*shape, -1), counts.expand(*shape, -1)
        below = counts.detach().floor().long().clamp(0, self.total_count)
        above = (below + 1).clamp(max=self.total_count)
        share = counts - below
        low, high = table.gather(-1, below), table.gather(-1, above)
        possible = low.isfinite() & ((share == 0) | high.isfinite())
        # Nothing infinite in what is differentiated.
        low, high = (torch.where(x.isfinite(), x, 0.0) for x in (low, high))
        return torch.where(possible, low + share * (high - low), -torch.inf)
