# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

r"""Gradients for the weights of drawn sizes, whatever their law.

With the score :math:`u(n) = \partial_\theta \log p(n)` and two independent draws,

.. math:: \partial_\theta E f(n) = \tfrac12 E [(u(n) - u(n')) (f(n) - f(n'))] .

The difference of a quadratic function is :math:`f(n) - f(n') = (n - n')^T g` with :math:`g` the
mean of its gradients at both, so that for such functions, with the mean over :math:`n'` taken
exactly,

.. math::
    \partial_\theta E f(n) = \tfrac12
    E \big[ (u(n) (n - E n') + \partial_\theta E n')^T \nabla f(n) \big] .

The same holds for functions of the indicators :math:`1(c_k \ge i)` that a rank :math:`i` lies in
the first :math:`k` subsets. Where sizes move by one element at most when the total does, the
gradients of :mod:`pyro_drpm.ops.sizes.boundary_moves` hold as well, with less noise.
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["paired_moves"]


def paired_moves(log_prob: Tensor, drawn: Tensor, mean: Tensor) -> Tensor:
    """Zeros that carry the gradient of the second formula.

    Args:
        log_prob: Log-masses of the draws, shape ``(*sample, *batch)``.
        drawn: Of each draw what a function is quadratic in, shape ``(*sample, *batch, *event)``.
        mean: Its mean, shape ``(*batch, *event)``.

    Returns:
        Shape ``(*sample, *batch, *event)``.
    """
    score = (log_prob - log_prob.detach())[(...,) + (None,) * (drawn.dim() - log_prob.dim())]
    return (score * (drawn - mean.detach()) + (mean - mean.detach())) / 2
