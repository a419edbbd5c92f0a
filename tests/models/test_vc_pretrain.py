# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Losses of the contrastive pretraining."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from models.vc.pretrain import balance_loss, contrastive_loss


def test_contrastive_loss_is_its_definition() -> None:
    torch.manual_seed(0)
    first, second = torch.randn(3, 4), torch.randn(3, 4)
    views = [*first, *second]

    def cosine(a: Tensor, b: Tensor) -> float:
        return float(a @ b / (a.norm() * b.norm()))

    losses = []
    for i, anchor in enumerate(views):
        weights = [math.exp(cosine(anchor, other) / 0.5) for other in views]
        losses.append(-math.log(weights[(i + 3) % 6] / (sum(weights) - weights[i])))
    expected = torch.tensor(sum(losses) / 6)
    torch.testing.assert_close(contrastive_loss(first, second, 0.5), expected)


def test_balance_loss_is_zero_for_equal_clusters_and_largest_for_one() -> None:
    assert float(balance_loss(torch.eye(4))) == pytest.approx(0, abs=1e-6)
    collapsed = torch.eye(4)[torch.zeros(9, dtype=torch.long)]
    assert float(balance_loss(collapsed)) == pytest.approx(math.log(4))
