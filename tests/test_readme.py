# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

import math
import re
from pathlib import Path
from typing import Any

import pyro
import pytest
import torch

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_example_runs_as_shown_and_reaches_the_posterior() -> None:
    example = EXAMPLES[0]
    namespace: dict[str, Any] = {}
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    exec(example, namespace)
    every = namespace["prior"].enumerate_support()
    means = torch.where(every[:, 0] == 1, 2.0, -2.0)
    log_likelihood = -((namespace["x"] - means) ** 2 / 2 + math.log(2 * math.pi) / 2).sum(-1)
    evidence = (namespace["prior"].log_prob(every) + log_likelihood).logsumexp(0)
    assert sum(namespace["losses"][-50:]) / 50 == pytest.approx(-evidence.item(), abs=0.05)
    found = torch.stack([namespace["guide"]().argmax(0) for _ in range(300)])
    shown = torch.tensor([0, 1, 0, 1, 0, 0])
    assert (found == shown).all(-1).float().mean() > 0.97
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
