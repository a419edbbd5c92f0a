# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""Log-masses of given partitions are kept for as long as they hold."""

from typing import Any

import pyro
import pytest
import torch
from pyro import poutine
from torch import Tensor

from pyro_drpm import DRPM
from pyro_drpm.distributions import SizeDistribution
from pyro_drpm.infer.given_partitions import GivenPartitions

Y = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])


class Powers(SizeDistribution):
    """A law of a user, one of whose parameters is a number."""

    def __init__(self, log_rate: Tensor, power: float) -> None:
        self.log_rate, self.power = log_rate, power
        super().__init__(3, log_rate.shape, like=log_rate)

    def log_factors(self, counts: Tensor) -> Tensor:
        return counts**self.power * self.log_rate.double().unsqueeze(-1)


def test_a_kept_mass_is_that_of_the_law(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    exact = DRPM.log_prob

    def counted(self: DRPM, value: Tensor) -> Tensor:
        calls.append(value)
        return exact(self, value)

    monkeypatch.setattr(DRPM, "log_prob", counted)
    given = GivenPartitions({"Y": Y})
    rate, scores = torch.tensor([0.3, -0.2]), torch.tensor([1.0, 2.0, 3.0])

    def mass(power: float = 2.0, scores: Tensor = scores, value: Tensor = Y) -> Any:
        given.partitions["Y"] = value
        with given:
            trace = poutine.trace(
                lambda: pyro.sample("Y", DRPM(sizes=Powers(rate, power), s=scores))
            ).get_trace()
        site: Any = trace.nodes["Y"]
        assert torch.equal(site["value"], value)
        assert site["is_observed"]
        expected = exact(DRPM(sizes=Powers(rate, power), s=scores), value)
        torch.testing.assert_close(trace.log_prob_sum(), expected)
        return len(calls)

    assert [mass(), mass()] == [1, 1], "nothing has changed"
    assert mass(power=1.5) == 2, "a number of the law"
    assert mass(scores=scores + 1) == 3
    assert mass(scores=scores + 1, value=1 - Y) == 4
    # A law that gradients pass through is looked at every time.
    learnt = scores.clone().requires_grad_()
    assert mass(scores=learnt) == 5
    assert mass(scores=learnt) == 6
