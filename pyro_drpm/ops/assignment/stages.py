# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Partitions with a score for every subset and element, drawn stage by stage."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_drpm.ops.assignment.stage_flow import StagedDraw
from pyro_drpm.ops.noise import gumbel

__all__ = ["draw_by_stages", "log_best_ordering_by_stages"]


@torch.no_grad()
def draw_by_stages(log_s: Tensor, counts: Tensor) -> StagedDraw:
    """Each subset in turn takes the elements that are best for it among those that are left.

    Args:
        log_s: Log-scores, shape ``(*batch, K, n)``.
        counts: Sizes of the subsets, integers, shape ``(*sample, *batch, K)``.
    """
    num_subsets, n = log_s.shape[-2:]
    shape = torch.Size((*counts.shape[:-1], n))
    subset = torch.full(shape, num_subsets - 1, device=log_s.device)
    scores = []
    for k in range(num_subsets - 1):
        # The top n_k of perturbed log-scores are the first n_k of a Plackett-Luce draw.
        score = log_s[..., k, :].detach().double() + gumbel(shape, log_s.device)
        is_left = subset == num_subsets - 1
        order = score.masked_fill(~is_left, -torch.inf).argsort(-1, descending=True)
        rank = order.argsort(-1)
        subset = torch.where(is_left & (rank < counts[..., k, None]), k, subset)
        scores.append(score)
    none = torch.empty(*shape[:-1], 0, n, dtype=torch.float64, device=log_s.device)
    return StagedDraw(torch.stack(scores, -2) if scores else none, subset)


def log_best_ordering_by_stages(log_s: Tensor, Y: Tensor) -> Tensor:
    r"""Log-probability of the most probable order in which the subsets take their elements.

    .. math:: \sum_k \sum_i y_{ki} \Big[ \log s_{ki} - \log \sum_j s_{kj}
        \Big( \sum_{l > k} y_{lj} + y_{kj} \, 1(s_{kj} \le s_{ki}) \Big) \Big]

    Args:
        log_s: Log-scores, shape ``(*batch, K, n)``.
        Y: One-hot columns, shape ``(*batch, K, n)``.

    Returns:
        Shape ``(*batch,)``, float64.
    """
    shape = torch.broadcast_shapes(log_s.shape, Y.shape)
    log_s, Y = log_s.double().expand(shape), Y.expand(shape)
    own = Y > 0.5
    later = (Y.flip(-2).cumsum(-2).flip(-2) - Y) > 0.5
    rest = log_s.masked_fill(~later, -torch.inf).logsumexp(-1, keepdim=True)
    # Members by rising score: each is taken when those before it in this order are still there.
    rising, order = log_s.sort(dim=-1)
    member = own.gather(-1, order)
    below = rising.masked_fill(~member, -torch.inf).logcumsumexp(-1)
    terms = rising - below.logaddexp(rest)
    return torch.where(member, terms, 0.0).sum((-2, -1))
