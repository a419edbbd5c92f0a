# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

import re
from pathlib import Path
from typing import Any

import pyro
import pytest
import torch

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_example_runs_as_shown_and_finds_the_partition() -> None:
    example = EXAMPLES[0]
    namespace: dict[str, Any] = {}
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    exec(example, namespace)
    losses = namespace["losses"]
    assert sum(losses[-50:]) < sum(losses[:50])
    found = torch.stack([namespace["guide"]().argmax(0) for _ in range(300)])
    partitions, counts = found.unique(dim=0, return_counts=True)
    assert partitions[counts.argmax()].tolist() == [0, 1, 0, 1, 0, 0]
    pyro.clear_param_store()


def test_fixed_sizes_are_those_shown(capsys: pytest.CaptureFixture[str]) -> None:
    exec(EXAMPLES[1], {})
    (shown,) = re.findall(r"print\(teams.*\)  # (.*)", EXAMPLES[1])
    of_teams, of_restaurant = capsys.readouterr().out.splitlines()
    assert of_teams == shown
    assert sum(map(float, re.findall(r"\d+\.", of_restaurant))) == 9


def test_summaries_print_what_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    exec(EXAMPLES[2], {})
    (shown,) = re.findall(r"print\(estimate.labels\)  # (.*)", EXAMPLES[2])
    assert capsys.readouterr().out.splitlines()[0] == shown
