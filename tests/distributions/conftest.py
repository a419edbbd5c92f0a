# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

"""The cases of the contract suite, as fixtures."""

from dataclasses import dataclass, field
from typing import Any

import pyro
import pytest
import torch
from torch import Tensor

from pyro_drpm import DRPM, MultivariateFisherHypergeometric, PlackettLuce
from pyro_drpm.distributions import (
    DirichletMultinomialSizes,
    FixedSizes,
    MultinomialSizes,
    PitmanYorSizes,
    PotentialSizes,
    TiedPlackettLuce,
)
from pyro_drpm.types import UpperBound


@dataclass(frozen=True)
class Case:
    """A distribution, the shapes of its parameters and the shapes it should have."""

    name: str
    cls: Any
    shapes: dict[str, tuple[int, ...]]
    batch_shape: tuple[int, ...]
    event_shape: tuple[int, ...]
    options: dict[str, Any] = field(default_factory=dict)
    capacities: Any = None
    cardinality: int | None = None
    parameter_dim: int = 1

    def parameters(self, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(len(self.name))
        parameters = {}
        for name, shape in self.shapes.items():
            value = torch.randn(shape, generator=generator, dtype=dtype)
            if name == "discount":
                value = value.sigmoid()
            elif name == "sizes":  # 4 elements, some of them behind each other's boundaries
                value = (4 * value.cumsum(-1).softmax(-1).cumsum(-1)).round()
                value = torch.cat([value[..., :1], value.diff(dim=-1)], -1)
            elif not name.startswith("log_"):
                value = value.exp()
            parameters[name] = value
        if self.capacities is not None:
            parameters["capacities"] = torch.tensor(self.capacities)
        return parameters

    @property
    def has_rows(self) -> bool:
        """Whether each subset has scores of its own, whose draws have no gradients."""
        return any("subset_s" in name for name in self.shapes)

    @property
    def bound(self) -> UpperBound:
        """An upper bound that there is."""
        return "tight" if self.has_rows else "lemma"

    def event_dim_of(self, name: str) -> int:
        """Number of dims of a parameter that belong to a single distribution."""
        return 2 if "subset_s" in name else self.parameter_dim

    def event_shape_of(self, name: str) -> tuple[int, ...]:
        """Shape of a parameter without its batch shape."""
        shape = self.shapes[name]
        return shape[len(shape) - self.event_dim_of(name) :]

    def build(self, dtype: torch.dtype = torch.float64, /, **changes: Any) -> Any:
        return self.cls(**{**self.options, **self.parameters(dtype), **changes})

    def values(self, d: Any, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """Samples, relaxed ones where the distribution has such."""
        pyro.set_rng_seed(1)
        relaxed = isinstance(d, DRPM) and not d.hard
        return d.rsample(sample_shape).detach() if relaxed else d.sample(sample_shape)


TOTAL = {"total_count": 4}

CASES = [
    Case("drpm", DRPM, {"omega": (3,), "s": (4,)}, (), (3, 4), cardinality=81),
    Case("drpm-logs", DRPM, {"log_omega": (3,), "log_s": (4,)}, (), (3, 4), cardinality=81),
    Case("drpm-batch", DRPM, {"omega": (5, 2), "s": (5, 3)}, (5,), (2, 3), cardinality=8),
    Case("drpm-broadcast", DRPM, {"omega": (5, 1, 2), "log_s": (4, 3)}, (5, 4), (2, 3)),
    Case("drpm-batched-scores", DRPM, {"omega": (2,), "s": (2, 5, 3)}, (2, 5), (2, 3)),
    Case("drpm-one-subset", DRPM, {"omega": (1,), "s": (2, 4)}, (2,), (1, 4), cardinality=1),
    Case("drpm-one-element", DRPM, {"omega": (2, 3), "s": (1,)}, (2,), (3, 1), cardinality=3),
    Case("drpm-more-subsets", DRPM, {"omega": (5,), "s": (2, 3)}, (2,), (5, 3), cardinality=125),
    Case("drpm-one-of-each", DRPM, {"omega": (1,), "s": (1,)}, (), (1, 1), cardinality=1),
    Case(
        "drpm-capacities",
        DRPM,
        {"omega": (2, 3), "s": (4,)},
        (2,),
        (3, 4),
        capacities=[[1, 2, 2], [4, 0, 3]],
        cardinality=81,
    ),
    Case(
        "drpm-batched-capacities",
        DRPM,
        {"omega": (2,), "s": (4,)},
        (3,),
        (2, 4),
        capacities=[[2, 2], [4, 4], [0, 4]],
    ),
    Case(
        "drpm-relaxed",
        DRPM,
        {"omega": (5, 3), "s": (4,)},
        (5,),
        (3, 4),
        options={"hard": False, "temperature": 0.3},
        cardinality=81,
    ),
    Case(
        "drpm-relaxed-one-subset",
        DRPM,
        {"omega": (2, 1), "s": (3,)},
        (2,),
        (1, 3),
        options={"hard": False},
        cardinality=1,
    ),
    Case(
        "drpm-relaxed-capacities",
        DRPM,
        {"log_omega": (3,), "log_s": (2, 4)},
        (2,),
        (3, 4),
        options={"hard": False},
        capacities=[3, 0, 2],
        cardinality=81,
    ),
    Case("drpm-rows", DRPM, {"omega": (3,), "subset_s": (3, 4)}, (), (3, 4), cardinality=81),
    Case(
        "drpm-rows-batch",
        DRPM,
        {"log_omega": (5, 1, 2), "log_subset_s": (4, 2, 3)},
        (5, 4),
        (2, 3),
        cardinality=8,
    ),
    Case(
        "drpm-rows-capacities",
        DRPM,
        {"omega": (3,), "log_subset_s": (2, 3, 4)},
        (2,),
        (3, 4),
        capacities=[1, 2, 2],
        cardinality=81,
    ),
    Case(
        "drpm-rows-one-subset",
        DRPM,
        {"omega": (1,), "subset_s": (2, 1, 3)},
        (2,),
        (1, 3),
        cardinality=1,
    ),
    Case(
        "sizes",
        MultivariateFisherHypergeometric,
        {"omega": (3,)},
        (),
        (3,),
        options={"total_count": 4},
        cardinality=15,
    ),
    Case(
        "sizes-logs",
        MultivariateFisherHypergeometric,
        {"log_omega": (5, 1, 3)},
        (5, 1),
        (3,),
        options={"total_count": 4},
        cardinality=15,
    ),
    Case(
        "sizes-capacities",
        MultivariateFisherHypergeometric,
        {"omega": (3,)},
        (),
        (3,),
        options={"total_count": 4},
        capacities=[1, 2, 3],
        cardinality=5,
    ),
    Case(
        "sizes-batched-capacities",
        MultivariateFisherHypergeometric,
        {"omega": (2, 1, 3)},
        (2, 2),
        (3,),
        options={"total_count": 4},
        capacities=[[1, 2, 3], [4, 0, 4]],
    ),
    Case(
        "sizes-one-subset",
        MultivariateFisherHypergeometric,
        {"omega": (2, 1)},
        (2,),
        (1,),
        options={"total_count": 4},
        cardinality=1,
    ),
    Case(
        "sizes-one-element",
        MultivariateFisherHypergeometric,
        {"omega": (2, 3)},
        (2,),
        (3,),
        options={"total_count": 1},
        cardinality=3,
    ),
    Case(
        "sizes-minimum",
        MultivariateFisherHypergeometric,
        {"log_omega": (2, 3)},
        (2,),
        (3,),
        options={"total_count": 4, "minimum": torch.tensor([1, 0, 1])},
        cardinality=6,
    ),
    Case("multinomial", MultinomialSizes, {"omega": (2, 3)}, (2,), (3,), TOTAL, cardinality=15),
    Case(
        "multinomial-bounds",
        MultinomialSizes,
        {"log_omega": (3,)},
        (),
        (3,),
        {**TOTAL, "minimum": torch.tensor([0, 1, 0]), "maximum": torch.tensor([2, 2, 2])},
        cardinality=5,
    ),
    Case("multinomial-one-subset", MultinomialSizes, {"omega": (1,)}, (), (1,), TOTAL, None, 1),
    Case(
        "dirichlet", DirichletMultinomialSizes, {"concentration": (3,)}, (), (3,), TOTAL, None, 15
    ),
    Case(
        "dirichlet-bounds",
        DirichletMultinomialSizes,
        {"concentration": (2, 1, 3)},
        (2, 1),
        (3,),
        {**TOTAL, "maximum": torch.tensor([3, 2, 3])},
        cardinality=10,
    ),
    Case(
        "potential",
        PotentialSizes,
        {"log_potential": (2, 3, 5)},
        (2,),
        (3,),
        cardinality=15,
        parameter_dim=2,
    ),
    Case(
        "potential-one-element", PotentialSizes, {"log_potential": (3, 2)}, (), (3,), {}, None, 3, 2
    ),
    Case(
        "restaurant",
        PitmanYorSizes,
        {"strength": (2,), "discount": (2,)},
        (2,),
        (3,),
        {**TOTAL, "max_subsets": 3},
        cardinality=7,
        parameter_dim=0,
    ),
    Case("fixed", FixedSizes, {"sizes": (3,)}, (), (3,), TOTAL, None, 1),
    Case("ordering", PlackettLuce, {"s": (4,)}, (), (4,), cardinality=24),
    Case("ordering-logs", PlackettLuce, {"log_s": (2, 3, 3)}, (2, 3), (3,), cardinality=6),
    Case("ordering-one-element", PlackettLuce, {"s": (2, 1)}, (2,), (1,), cardinality=1),
    Case("tied", TiedPlackettLuce, {"s": (4,)}, (), (4,), {"sizes": [1, 2, 1]}, None, 12),
    Case("tied-logs", TiedPlackettLuce, {"log_s": (2, 3, 3)}, (2, 3), (3,), {"sizes": [2, 1]}),
    Case("tied-one-element", TiedPlackettLuce, {"s": (2, 1)}, (2,), (1,), {"sizes": [1]}, None, 1),
]


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


RANKED = [c for c in CASES if not c.has_rows]


@pytest.fixture(params=[c for c in RANKED if c.cls is DRPM], ids=lambda case: case.name)
def drpm_case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture(params=[c for c in RANKED if c.cls.has_rsample], ids=lambda case: case.name)
def rsample_case(request: pytest.FixtureRequest) -> Case:
    return request.param
