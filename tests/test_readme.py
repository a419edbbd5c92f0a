# Copyright Contributors to the pyro-drpm project.
# SPDX-License-Identifier: Apache-2.0

import math
import re
from pathlib import Path
from typing import Any

import pyro
import pytest
import torch

import pyro_drpm
import pyro_drpm.distributions
import pyro_drpm.infer
import pyro_drpm.partitions

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
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


def test_the_estimator_prints_what_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    exec(EXAMPLES[1], {})
    (shown,) = re.findall(r"print\(.*\)  # (.*)", EXAMPLES[1])
    assert capsys.readouterr().out.strip() == shown


def test_the_readme_is_a_front_door() -> None:
    assert len(README.splitlines()) <= 150
    links = re.findall(r"\]\((?!http)([^)]+)\)", README)
    assert links and all((ROOT / link).exists() for link in links)


def test_every_public_name_has_a_line() -> None:
    shown = re.findall(r"`([^`]+)`", README[README.index("## API") :])
    names = {part.rsplit(".", 1)[-1] for text in shown for part in text.split(", ")}
    for module in (pyro_drpm, pyro_drpm.distributions, pyro_drpm.infer, pyro_drpm.partitions):
        assert {*module.__all__} - {"constraints"} <= names


HOW_TO = [
    (path, block)
    for path in sorted((ROOT / "docs").rglob("*.md"))
    for block in re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
    if "import" in block and "DIRECTORY" not in block
]


@pytest.mark.parametrize(("path", "block"), HOW_TO, ids=[path.stem for path, _ in HOW_TO])
def test_examples_of_the_pages_run(
    path: Path, block: str, capsys: pytest.CaptureFixture[str]
) -> None:
    exec(block, {})
    shown = re.findall(r"print\(.*\)  # (.*)", block)
    assert capsys.readouterr().out.splitlines() == shown
